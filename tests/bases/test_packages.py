from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hub.bases.packages import extract_member, fetch_package, members, open_member
from hub.errors import BadRequest, NotFound, SourceUnavailable, TooLarge

FILES = {"top-1.0/data/rows.txt": b"one\ntwo\n", "top-1.0/README": b"read me"}


def tar_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(params=["zip", "tar.gz"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"top-1.0.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in FILES.items():
                zipped.writestr(name, content)
    else:
        path.write_bytes(tar_bytes(FILES))
    return path


def test_a_wheel_is_downloaded_and_nothing_else_is_left(package_index, tmp_path: Path) -> None:
    published = package_index("carrier", "1.2", {"carrier/x.txt": b"hello"})
    seen = []
    got = fetch_package("carrier==1.2", "wheel", tmp_path / "into", progress=lambda *args: seen.append(args))
    assert got.read_bytes() == published.read_bytes()
    assert list(got.parent.iterdir()) == [got]
    assert {what for what, _, _ in seen} == {"download carrier==1.2"}


def test_an_sdist_is_downloaded_and_its_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_cache = tmp_path / "adapter_cache"
    adapter_cache.mkdir()
    files = {
        "carrier-1.2/setup.py": b"from setuptools import setup\nsetup(name='carrier', version='1.2')\n",
        "carrier-1.2/PKG-INFO": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.2\n",
        "carrier-1.2/data/rows.txt": b"one\n",
    }
    (adapter_cache / "carrier-1.2.tar.gz").write_bytes(tar_bytes(files))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(adapter_cache))
    got = fetch_package("carrier==1.2", "sdist", tmp_path / "into")
    assert list(got.parent.iterdir()) == [got]
    with open_member(got, "data/rows.txt") as rows:
        assert rows.read() == b"one\n"


def test_a_wheel_with_another_sha256_than_stated_is_refused(package_index, tmp_path: Path) -> None:
    package_index("carrier", "1.2", {"carrier/x.txt": b"hello"})
    with pytest.raises(SourceUnavailable, match=r"(?i)hash"):
        fetch_package("carrier==1.2", "wheel", tmp_path / "into", sha256="0" * 64)
    assert list((tmp_path / "into").iterdir()) == []


def test_what_pip_cannot_find_ends_with_its_reason(package_index, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No matching distribution found for carrier==9"):
        fetch_package("carrier==9", "wheel", tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize(
    "requirement", ["carrier", "carrier>=1", "--index-url=http://x", "a==1 --pre", "a==1;x", "", "a==1\nb==2"]
)
def test_only_one_pinned_package_can_be_asked_for(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(BadRequest, match="dist==version"):
        fetch_package(requirement, "wheel", tmp_path)


def test_members_are_listed_and_read_by_full_name_or_below_the_top_folder(archive: Path) -> None:
    assert sorted(members(archive)) == sorted(FILES)
    for name in ("top-1.0/data/rows.txt", "data/rows.txt"):
        with open_member(archive, name) as file:
            assert file.read() == b"one\ntwo\n"


def test_a_member_that_is_not_there_lists_those_that_are(archive: Path) -> None:
    with pytest.raises(NotFound, match=r"top-1\.0/README"), open_member(archive, "data/none.txt"):
        pass


def test_an_archive_inside_an_archive_is_read_by_opening_twice(tmp_path: Path) -> None:
    outer = tmp_path / "outer.tar.gz"
    outer.write_bytes(tar_bytes({"top/inner.tar.gz": tar_bytes(FILES)}))
    with open_member(outer, "inner.tar.gz") as inner, open_member(inner, "top-1.0/README") as file:
        assert file.read() == b"read me"


@pytest.mark.parametrize("name", ["../../escape.txt", "/etc/passwd"])
def test_a_member_is_written_where_it_is_told_whatever_its_own_path(tmp_path: Path, name: str) -> None:
    evil = tmp_path / "evil.tar.gz"
    evil.write_bytes(tar_bytes({name: b"evil"}))
    target = tmp_path / "inside" / "file.txt"
    target.parent.mkdir()
    extract_member(evil, name, target)
    assert target.read_bytes() == b"evil"
    assert not (tmp_path.parent / "escape.txt").exists()


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("passwords")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(NotFound), open_member(path, "passwords"):
        pass


def test_a_member_over_the_limit_leaves_no_file(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(TooLarge, match="4 bytes"):
        extract_member(archive, "data/rows.txt", target, limit=4)
    assert not target.exists()


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"not an archive")
    with pytest.raises(BadRequest, match=r"x\.whl is not a wheel"):
        members(path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_damaged_archive_is_said_to_be_so(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / f"top.{kind}", b"".join(b"%d\n" % number for number in range(20_000))
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("top/x", content)
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as archive:
            info = tarfile.TarInfo("top/x")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    whole = bytearray(path.read_bytes())
    begin = len(whole) // 2 if kind == "tar.xz" else 45  # in the codes that the rest is packed with
    whole[begin : begin + 30] = (255 - byte for byte in whole[begin : begin + 30])
    path.write_bytes(whole)
    with pytest.raises(BadRequest, match="or is damaged"):
        extract_member(path, "top/x", tmp_path / "x")


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    path = tmp_path / "top.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("top/x", b"hello")
    whole = bytearray(path.read_bytes())
    whole[6] |= 1  # the flag in the header of the file, and in the directory
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(BadRequest, match="encrypted"):
        extract_member(path, "top/x", tmp_path / "x")
