"""Reads untrusted files within limits: regular files only, and strict JSON."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import IO, Any

__all__ = ["MAX_DEPTH", "MAX_JSON_BYTES", "open_regular", "parse_json", "read_json"]

MAX_JSON_BYTES = 64 << 20  # the largest tokenizers in use have 35 MB
MAX_DEPTH = 64
MAX_DIGITS = 40  # of one number; Python would take quadratic time for many, and refuses 4,300
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def open_regular(path: Path, *, follow_link: bool = True) -> IO[bytes]:
    """Open a regular file to read; without `follow_link`, not by a symbolic link.

    Reading a FIFO or a device could block or never end.

    Raises:
        OSError: it is another kind of file, or cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags if follow_link else flags | getattr(os, "O_NOFOLLOW", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, "is a folder" if stat.S_ISDIR(mode) else "is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_json(path: Path, most_bytes: int = MAX_JSON_BYTES, *, unique_keys: bool = True) -> Any:
    """Read a JSON file as `parse_json` does.

    Raises:
        OSError: it is not a regular file, or cannot be read.
        ValueError: it is larger than `most_bytes`, or `parse_json` refuses it.
    """
    with open_regular(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return parse_json(data, unique_keys=unique_keys)


def parse_json(data: bytes, *, unique_keys: bool = True) -> Any:
    """Parse UTF-8 JSON: no NaN or infinity, no duplicate keys, limited length of numbers and depth.

    Without `unique_keys` the last of duplicate keys counts, as in other parsers.

    Raises:
        ValueError: the reason, without text of the document.
    """
    if _is_deep(data):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object if unique_keys else None,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_real,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, line {error.lineno})") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _is_deep(data: bytes) -> bool:
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", _STRING.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text):,} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= 10 * MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
