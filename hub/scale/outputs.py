"""The folder of a bulk job's answers, at any URL: each file is there as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import has_magic
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from hub.errors import Conflict, SourceUnavailable
from hub.files import PART, replacing, write_file
from hub.transfer.depot import OBJECT_STORES, file_system, protocols, shown_url

__all__ = ["JOB_FILE", "OutputFolder"]

JOB_FILE = "_job.json"  # readers of data sets leave out names with _
_DONE = "_done"
_LOCK = "_job.lock"
_WITHOUT_FOLDERS = OBJECT_STORES | {"memory"}


class OutputFolder:
    """The answers of one job, with a record of the job and of each part that is done.

    A part is done once its file is there; its record is written just before.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = file_system(url)
        self.url = url
        self.shown = shown_url(url)
        self._local = "local" in protocols(self._fs)
        self._is_object_store = bool(protocols(self._fs) & _WITHOUT_FOLDERS)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if it is new, and keep others from working on it; only of this machine.

        Raises:
            Conflict: another process works on it.
            SourceUnavailable: it cannot be written.
        """
        with ExitStack() as stack:
            with self._reaching("written"):
                self._make_folder(self._root)
                if self._local:
                    try:
                        stack.enter_context(FileLock(Path(self._root) / _LOCK, timeout=0))
                    except Timeout:
                        raise Conflict(f"Another process writes to {self.shown} now.") from None
                    self._sweep()
                    stack.callback(self._sweep)
            yield

    def _sweep(self) -> None:
        """Remove what processes that were killed had begun to write."""
        for left in Path(self._root).rglob(f".*{PART}"):
            left.unlink(missing_ok=True)

    def job(self) -> Any:
        """Return the record of the job; None if the folder is empty or new.

        Raises:
            Conflict: it has other files.
        """
        with self._reaching("read"):
            try:
                return json.loads(self._fs.cat_file(f"{self._root}/{JOB_FILE}"))
            except FileNotFoundError:
                if others := self._names() - {_LOCK}:
                    raise Conflict(
                        f"{self.shown} is not empty (it has {min(others)}) and holds no job. "
                        "Name a new folder."
                    ) from None
                return None

    def begin(self, job: Any) -> None:
        """Write the record of the job."""
        self._write(JOB_FILE, json.dumps(job, indent=1))

    def done(self, outputs: set[str]) -> dict[str, Any]:
        """Return the records of the parts that are done, by the names of their files."""
        with self._reaching("read"):
            there = self._found()
            paths = {f"{self._root}/{_DONE}/{name}.json": name for name in outputs & there}
            known = [path for path, name in paths.items() if f"{_DONE}/{name}.json" in there]
            records = {paths[path]: json.loads(data) for path, data in self._contents(known).items()}
        return records

    def _contents(self, paths: list[str]) -> dict[str, bytes]:
        """Read files, many at once; `cat` takes a name with one of *?[ for a pattern."""
        plain = [path for path in paths if not has_magic(path)]
        found = self._fs.cat(plain) if plain else {}
        return {**found, **{path: self._fs.cat_file(path) for path in paths if has_magic(path)}}

    @contextmanager
    def writing(self, name: str) -> Iterator[tuple[Path, Callable[[Any], None]]]:
        """Yield a local file that becomes the file of a part, and what takes the record of the part.

        Nothing is there if the block fails, or records nothing.

        Raises:
            SourceUnavailable: the URL cannot be written.
        """
        records: list[Any] = []
        if self._local:
            target = Path(self._root) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, durable=True) as aside:
                yield aside, records.append
                self._write(f"{_DONE}/{name}.json", json.dumps(records[-1]))
            return
        with TemporaryDirectory(prefix="hub-bulk-") as folder:
            aside = Path(folder) / "rows"
            yield aside, records.append
            self._write(f"{_DONE}/{name}.json", json.dumps(records[-1]))
            with self._reaching("written"):
                self._upload(aside, f"{self._root}/{name}")

    def _upload(self, source: Path, target: str) -> None:
        self._make_folder(target.rpartition("/")[0])
        if self._is_object_store:
            self._fs.put_file(str(source), target)
            return
        aside = f"{target}.{token_hex(4)}{PART}"
        try:
            self._fs.put_file(str(source), aside)
            self._fs.mv(aside, target)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(aside)
            raise

    def _write(self, name: str, text: str) -> None:
        with self._reaching("written"):
            if self._local:
                path = Path(self._root) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, text, durable=True)
            else:
                path_there = f"{self._root}/{name}"
                self._make_folder(path_there.rpartition("/")[0])
                self._fs.pipe_file(path_there, text.encode())

    def _make_folder(self, path: str) -> None:
        if not self._is_object_store:  # where a bucket is misspelt, no other shall come into being
            self._fs.makedirs(path, exist_ok=True)

    def _names(self) -> set[str]:
        try:
            found = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return set()
        names = {str(path).rstrip("/")[len(self._root) :].strip("/") for path in found}
        return names - {""}

    def _found(self) -> set[str]:
        return {str(path)[len(self._root) :].strip("/") for path in self._fs.find(self._root)}

    @contextmanager
    def _reaching(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Conflict:
            raise
        except Exception as error:  # each file system raises the exceptions of its own library
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise SourceUnavailable(f"{self.shown} cannot be {verb}: {reason}.") from error
