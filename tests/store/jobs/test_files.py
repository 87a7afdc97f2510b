"""Uploaded files: private, under random names, within limits."""

from __future__ import annotations

import io
import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from hub.errors import Conflict, NotFound, TooLarge
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import FileRow
from hub.store.jobs.files import Files, NewFile
from hub.store.jobs.jobs import Jobs
from hub.store.jobs.records import JobSpec, Page

NEW = NewFile("../../etc/passwd.csv", "csv", "fine-tune")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog.db")


@pytest.fixture
def files(catalog: Catalog, tmp_path: Path) -> Files:
    return Files(catalog, tmp_path)


def stored(files: Files, content: bytes = b"a,b\n", new: NewFile = NEW):
    return files.add(files.stage(io.BytesIO(content), new.format, 100), new, rows=1)


def test_a_file_is_private_and_its_name_is_in_no_path(files: Files, tmp_path: Path) -> None:
    file = stored(files)
    path = files.path(file)
    assert path == tmp_path / "files" / f"{file.id}.csv" and path.read_bytes() == b"a,b\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert files.get(file.id).filename == NEW.filename


def test_what_is_too_large_leaves_nothing(files: Files, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match=r"jobs\.file_bytes"):
        files.stage(io.BytesIO(b"x" * 101), "csv", 100)
    staged = files.stage(io.BytesIO(b"x" * 100), "csv", 100)
    with pytest.raises(TooLarge, match=r"jobs\.storage_bytes"):
        files.add(staged, NEW, rows=1, storage=99)
    assert list((tmp_path / "files").iterdir()) == []


def test_a_file_that_a_job_reads_stays(files: Files, catalog: Catalog) -> None:
    file, jobs = stored(files), Jobs(catalog)
    job = jobs.create(JobSpec("tiny", "sentiment", "mood", "file-x", validation_file=file.id), 10)
    with pytest.raises(Conflict, match=job.id):
        files.remove(file.id)
    jobs.cancel(job.id)
    files.remove(file.id)
    assert not files.holds(file)
    with pytest.raises(NotFound):
        files.get(file.id)


def test_a_file_is_removed_once_its_time_is_over(files: Files, catalog: Catalog) -> None:
    lasting = NewFile("a.csv", "csv", "fine-tune", timedelta(hours=1))
    file, kept = stored(files, new=lasting), stored(files)
    files.remove_expired()
    assert files.holds(file)
    with catalog.write() as session:
        session.get(FileRow, file.id).expires = "2000-01-01T00:00:00+00:00"
    files.remove_expired()
    assert not files.holds(file) and files.holds(kept)


def test_what_a_dead_server_left_of_an_upload_is_removed(files: Files, tmp_path: Path) -> None:
    file = stored(files)
    left = [files.stage(io.BytesIO(b"x"), "csv", 9), tmp_path / "files" / ".file-1.csv.0a.part"]
    left[1].write_bytes(b"x")
    new = files.stage(io.BytesIO(b"x"), "csv", 9)
    for path in (*left, files.path(file)):
        os.utime(path, (0, 0))
    (tmp_path / "files" / ".file-2.csv.0b.part").symlink_to(tmp_path / "gone")  # an upload that ends now
    files.remove_orphans()
    assert not any(path.exists() for path in left)
    assert new.exists() and files.holds(file)


def test_files_are_listed_by_purpose_in_either_order(files: Files) -> None:
    ids = [stored(files).id for _ in range(3)]
    stored(files, new=NewFile("r.csv", "csv", "fine-tune-results"))
    page = [file.id for file in files.page(Page(9), "fine-tune")]
    assert page == ids[::-1]
    assert [file.id for file in files.page(Page(9, ids[0]), "fine-tune", oldest_first=True)] == ids[1:]
