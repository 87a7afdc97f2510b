"""The text encodings that a recipe may name."""

from __future__ import annotations

import codecs

__all__ = ["CODECS", "UTF8", "WIDE", "check_encoding"]

UTF8 = "utf-8"
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_ALLOWED = (
    *("utf-8", "utf-16", "utf-32", *WIDE),
    *(f"cp{number}" for number in (*range(1250, 1259), 437, 850, 866, 874, 932, 949, 950)),
    *(f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))),
    *("koi8-r", "koi8-u", "mac-roman", "shift_jis", "euc-jp", "gb2312", "gbk", "gb18030", "big5", "euc-kr"),
)
CODECS = {codecs.lookup(name).name: name for name in _ALLOWED} | {"utf-8-sig": UTF8}


def check_encoding(value: str) -> str:
    """Return the canonical name of an encoding that a recipe may name.

    Raises:
        ValueError: it is unknown, or not an encoding of text files.
    """
    try:
        return CODECS[codecs.lookup(value).name]
    except (LookupError, ValueError):
        raise ValueError(
            f"{value!r} is not a known text encoding; use one of: {', '.join(_ALLOWED)}"
        ) from None
