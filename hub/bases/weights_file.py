"""Checks that a file is safetensors before a library opens it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from hub.errors import HubError, UnsafeWeights
from hub.untrusted import open_regular, parse_json

__all__ = ["MAX_HEADER_BYTES", "MAX_PARSED_BYTES", "header_of", "read_header"]

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
MAX_PARSED_BYTES = 16 << 20  # about 100,000 tensors. Parsed JSON may take thirty times its size
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (PyTorch's own format: pickle inside)",
    b"\x80": "a Python pickle",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip file",
}
_GIT_LFS = b"version h"  # of "version https://git-lfs.github.com/spec/v1"


def read_header(path: Path, malformed: type[HubError]) -> dict[str, Any]:
    """Return the header of a safetensors file: tensor name to `{"dtype", "shape", "data_offsets"}`.

    Raises:
        UnsafeWeights: the file is a pickle, a zip, or another format.
        malformed: it is truncated or its header is malformed.
    """
    with open_regular(path) as file:
        return header_of(file, os.fstat(file.fileno()).st_size, path, malformed)


def header_of(file: IO[bytes], size: int, path: Path, malformed: type[HubError]) -> dict[str, Any]:
    """As `read_header`, for an open file of `size` bytes; `path` names it in errors."""
    start = file.read(9)
    if start == _GIT_LFS:
        raise malformed(
            f"{path.name} is a Git LFS pointer: the weights were not downloaded. Run `git lfs pull` in "
            f"{path.parent} and try again."
        )
    length = int.from_bytes(start[:8], "little")
    if len(start) == 9 and (start[8:] != b"{" or length > MAX_HEADER_BYTES):
        what = next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), "another format")
        raise UnsafeWeights(f"{path.name} is {what}, not safetensors. It was not loaded.")
    if length > MAX_PARSED_BYTES:
        raise malformed(
            f"{path.name} has a safetensors header of {length:,} bytes, and the limit is "
            f"{MAX_PARSED_BYTES:,}: save it as several files."
        )
    file.seek(8)
    raw = file.read(min(length, size))
    if len(start) < 9 or len(raw) < length:
        raise malformed(f"{path.name} is truncated inside its safetensors header. Copy or download it again.")
    try:
        header: dict[str, Any] = parse_json(raw)
    except ValueError as error:
        raise malformed(f"{path.name} has a safetensors header that cannot be parsed: {error}.") from None
    header.pop("__metadata__", None)
    try:
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        all(int(size) for entry in header.values() for size in entry["shape"])
    except (TypeError, KeyError, IndexError, ValueError, OverflowError, AttributeError):
        raise malformed(f"{path.name} has a safetensors header with a malformed entry.") from None
    if end != size - 8 - length:
        raise malformed(
            f"{path.name} is truncated or altered: its header describes {end:,} bytes of weights, and "
            f"{size - 8 - length:,} follow. Copy or download it again."
        )
    return header
