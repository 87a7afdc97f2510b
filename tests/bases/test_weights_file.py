from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from hub.bases.weights_file import MAX_HEADER_BYTES, MAX_PARSED_BYTES, read_header
from hub.errors import BadAdapter, BadBase, HubError, UnsafeWeights

GOOD = save({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)})


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
    return buffer.getvalue()


def test_a_whole_file_gives_names_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD)
    assert {name: entry["shape"] for name, entry in read_header(path, BadBase).items()} == {
        "a": [2, 3],
        "b": [4],
    }


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = b"{}".ljust(0x0480)  # little-endian 80 04: how a protocol 4 pickle starts
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_header(path, BadBase) == {}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped(), "zip"),
        *((pickle.dumps({"w": [1.5] * 9}, protocol), "pickle") for protocol in (2, 3, 4, 5)),
        (pickle.dumps({"w": [1.5] * 9}, 0), "another format"),
        (b"GGUF" + bytes(60), "GGUF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{" + bytes(60), "another format"),
        (b"\xff" * 64, "another format"),
    ],
)
def test_another_format_posing_as_safetensors_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnsafeWeights, match=what):
        read_header(path, BadBase)


@pytest.mark.parametrize("size", [0, 4, 9, 40, len(GOOD) - 1])
def test_a_file_cut_off_anywhere_is_malformed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD[:size])
    with pytest.raises(BadBase, match="truncated"):
        read_header(path, BadBase)


def test_bytes_after_the_weights_are_malformed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD + b"more")
    with pytest.raises(BadBase, match="altered"):
        read_header(path, BadBase)


@pytest.mark.parametrize(
    "header",
    [
        b"{nonsense",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32"}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["x", "y"]}}',
        b'{"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, Infinity]}}',
        b'{"a": ' * 4000,
    ],
)
def test_a_malformed_header_is_said_to_be(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadAdapter, match="header"):
        read_header(path, BadAdapter)


ENTRY = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "nested more than 64 levels deep"),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, ' + b"9" * 4000 + b"]}}", "4,000 digits"),
        (b'{"a": ' + ENTRY + b', "a": ' + ENTRY + b"}", "a key is there twice"),
        (b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}', "NaN is not a number"),
        (b'{"\xff": ' + ENTRY + b"}", "it is not UTF-8"),
        (b'{"__metadata__": ' + b'{"a":' * 70 + b"1" + b"}" * 71, "nested more than 64 levels deep"),
    ],
)
def test_a_header_is_parsed_within_the_bounds_of_all_json_of_others(
    tmp_path: Path, header: bytes, reason: str
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadAdapter, match=f"header that cannot be parsed: .*{reason}"):
        read_header(path, BadAdapter)


def test_a_header_that_would_take_gigabytes_to_parse_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write((MAX_PARSED_BYTES + 1).to_bytes(8, "little") + b"{")
        file.truncate(MAX_PARSED_BYTES * 2)
    with pytest.raises(BadAdapter, match="16,777,217 bytes, and the limit is 16,777,216"):
        read_header(path, BadAdapter)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    os.mkfifo(path)
    with pytest.raises(OSError, match="is not a regular file"):
        read_header(path, BadAdapter)


JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.floats(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["shape", "data_offsets", "dtype", "x"]), inner)
    ),
)


def framed(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@given(st.binary(max_size=40) | st.dictionaries(st.text(), JSON).map(framed))
def test_no_content_raises_anything_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    try:
        read_header(path, BadAdapter)
    except HubError as error:
        assert path.name in str(error)


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(BadBase, match=r"model\.safetensors is a Git LFS pointer.*`git lfs pull`"):
        read_header(path, BadBase)
