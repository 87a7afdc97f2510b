"""Imports an adapter from a folder that the settings allow, and deploys it, while the server runs."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hub.bases.cache import Bases
from hub.bases.tokenizer_files import TOKENIZER_FILES
from hub.config import Settings
from hub.errors import AlreadyLoaded, BadAdapter, BadRequest, Forbidden, HubError, NotFound
from hub.imports.described import describe_folder
from hub.imports.folder import import_folder
from hub.names import check_name
from hub.registry.host import Registry
from hub.serving.runtime import Runtime
from hub.store.change import Deploy
from hub.store.content.weights import CONFIG_FILE, WEIGHTS_FILE, find_weights
from hub.store.manifest import MANIFEST_FILE
from hub.store.peft.peft_folder import MODEL_CONFIG_FILE
from hub.store.records import Version
from hub.store.store import Store
from hub.untrusted import open_regular

__all__ = ["AdapterFolder", "load_adapter"]

log = logging.getLogger(__name__)

_READ = (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE, MODEL_CONFIG_FILE, *TOKENIZER_FILES)
_ONE_AT_A_TIME = threading.Lock()  # an import holds an adapter in memory, and each changes what is deployed


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A PEFT folder on the server, as a caller names and describes it; `sha256` is that of its weights."""

    path: str
    sha256: str | None = None
    task: str | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True)
class _Workspace:
    settings: Settings
    store: Store
    registry: Registry
    bases: Bases


def load_adapter(runtime: Runtime, name: str, adapter: AdapterFolder, *, replace: bool = False) -> Version:
    """Import a folder as the next version of `name`, and deploy it under that name; blocks.

    A new version that cannot be deployed is removed again, unless the catalog says that it is deployed.

    Raises:
        Forbidden, NotFound: the path is not allowed, or is not a folder.
        AlreadyLoaded: there is a deployment of that name, and `replace` is not set.
        BadRequest, BadAdapter and others: as `describe_folder`, `import_folder` and `Runtime.deploy`.
    """
    check_name(name, "deployment")
    store = runtime.store
    folder = _allowed(adapter.path, runtime.settings.serve.adapter_roots)
    with _ONE_AT_A_TIME:
        if not replace and name in {one.name for one in store.deployments()}:
            raise AlreadyLoaded(
                f"The lora adapter '{name}' has already been loaded. Unload it first, or set load_inplace."
            )
        known = {version.ref for version in store.versions(name)}
        version = _import(runtime, folder, name, adapter)
        try:
            runtime.deploy(name, Deploy(version=str(version.ref), reason="load_lora_adapter"))
        except BaseException:
            if version.ref not in known:
                _remove(store, version)
            raise
    return version


def _remove(store: Store, version: Version) -> None:
    """Remove a version; if that fails, why it could not be deployed is still what is told."""
    try:
        store.remove(version.ref)
    except HubError as error:
        log.warning("%s could not be deployed, and stays in the store: %s", version.ref, error)


def _import(runtime: Runtime, folder: Path, name: str, adapter: AdapterFolder) -> Version:
    store = runtime.store
    workspace = _Workspace(runtime.settings, store, runtime.registry, store.bases)
    find_weights(folder)  # names a pickle, which is not copied
    with _private_copy(folder) as private:
        if adapter.sha256 is not None and _sha256(private / WEIGHTS_FILE) != adapter.sha256:
            raise BadAdapter(f"{WEIGHTS_FILE} does not have the hash expected_sha256. Nothing was imported.")
        described = describe_folder(private, workspace, adapter.task, adapter.base)
        return import_folder(private, name, described, workspace).version


def _allowed(path: str, roots: Sequence[Path]) -> Path:
    """Return the folder with symbolic links resolved.

    Raises:
        Forbidden: it is outside of the allowed folders, of which there may be none.
        NotFound: it does not exist.
    """
    if not roots:
        raise Forbidden(
            "No folder is allowed. List those with adapters to load in the setting serve.adapter_roots."
        )
    real = [Path(os.path.realpath(root)) for root in roots]
    try:
        found = [Path(os.path.realpath(root / path)) for root in real]  # an absolute path stays as it is
    except ValueError:
        raise BadRequest("lora_path has a character that no path can have.") from None
    inside = [one for one in found if any(one.is_relative_to(root) for root in real)]
    if not inside:
        raise Forbidden("lora_path is outside of the folders in the setting serve.adapter_roots.")
    for one in inside:
        if os.path.isdir(one):
            return one
    raise NotFound("No adapter found at lora_path, which must be a PEFT folder on the server.")


@contextmanager
def _private_copy(folder: Path) -> Iterator[Path]:
    """Copy the files of a folder aside, so that what is checked is what is imported.

    Raises:
        BadAdapter: one is a link, which may lead out of the allowed folders, or cannot be read.
    """
    with TemporaryDirectory(prefix="hub-load-") as aside:
        private = Path(aside) / folder.name
        private.mkdir()
        for name in _READ:
            _copy(folder / name, private / name)
        yield private


def _copy(source: Path, target: Path) -> None:
    try:
        with open_regular(source, follow_link=False) as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy)
    except FileNotFoundError:
        return
    except OSError as error:
        link = error.errno == errno.ELOOP
        reason = (
            "is a symbolic link; put the file itself there" if link else f"cannot be read: {error.strerror}"
        )
        raise BadAdapter(f"{source.name} {reason}.") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
