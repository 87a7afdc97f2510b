"""Parses cells with several values: lists as written by JSON, Python or numpy, or separated words."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["UnreadableList", "is_missing", "literal", "literal_list", "split_cell"]

MAX_LITERAL_CHARS = 1_000_000  # Python's parser needs about 100 bytes for each
_PAIRS = {"[": "]", "(": ")", "{": "}"}
_LISTED = re.compile(r"""[,'"]|\.\.\.""")  # a single word in brackets has none of these
_ADJACENT = re.compile(r"""['")\]]\s*[urbURB]?['"(\[]""")  # items without a comma, or an empty string
_BLANKS = re.compile(r"[ \t\r\n]+")  # not U+00A0, which may stand inside a token
_NAMES = {"nan": "None", "NaN": "None", "null": "None", "true": "True", "false": "False"}
# Representations of missing values by pandas and numpy; no class has such a name.
_MISSING = frozenset({"nan", "NaN", "<NA>", "NaT"})
_VALUES = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)
_LAYOUT = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


class UnreadableList(ValueError):
    """A cell looks like a list but cannot be parsed; the message is the reason."""


def is_missing(value: Any) -> bool:
    """Return whether a value stands for a missing one in a data frame: None, NaN, pandas' NA or NaT."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip() in _MISSING
    return isinstance(value, float) and math.isnan(value)


def literal_list(text: str) -> list[Any] | None:
    """Parse a list such as `["a", "b"]`, `['a', 'b']`, `('a', 'b')`, `['a' 'b']` or `[0 1]`.

    Returns None for a text that is not a list, such as `[other]` or `(see below)`.

    Raises:
        UnreadableList: it starts and ends like a list, but cannot be parsed.
    """
    text = text.strip()
    if len(text) < 2 or _PAIRS.get(text[0]) != text[-1]:
        return None
    found = _from_json(text) if text[0] == "[" else None
    if found is None:
        found = _from_python(text)
    if found is None and text[0] != "(" and _LISTED.search(text):
        raise UnreadableList("looks like a list, but is neither a JSON nor a Python list")
    if found and Ellipsis in found:
        raise UnreadableList("is a list that was abbreviated when it was printed (`...`)")
    return found


def literal(text: str) -> Any:
    """Parse a list or object in JSON or Python syntax.

    Raises:
        UnreadableList: it has neither syntax.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value = _evaluated(text.strip(), _with_commas) if len(text) <= MAX_LITERAL_CHARS else None
    if value is None:
        raise UnreadableList("is neither JSON nor a Python list")
    return value


def split_cell(text: str, separator: str | None, default: str | None) -> list[Any]:
    """Return the items of a list literal, else the parts of the text between separators.

    `default` is the separator if `separator` is None; a `default` of None means runs of ASCII white space.

    Raises:
        UnreadableList: as `literal_list`, if `separator` is None.
    """
    try:
        found = literal_list(text)
    except UnreadableList:
        if separator is None:
            raise
        found = None
    if found is not None:
        return found
    mark = separator or default
    parts = text.split(mark) if mark else _BLANKS.split(text.strip())
    return [part.strip() for part in parts]


def _from_json(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _from_python(text: str) -> list[Any] | None:
    value = None
    if len(text) <= MAX_LITERAL_CHARS:
        if not _ADJACENT.search(text):
            value = _evaluated(text)
        if value is None:
            value = _evaluated(text, _with_commas)
    if isinstance(value, set):
        return sorted(value, key=str)
    return list(value) if isinstance(value, list | tuple) else None


def _evaluated(text: str, prepare: Callable[[str], str] = str) -> Any:
    """Return the value of a Python literal; None for any other text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser warns about backslashes in strings
            return ast.literal_eval(prepare(text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _with_commas(text: str) -> str:
    """Put commas between values that only white space separates.

    numpy prints arrays without commas, and Python's parser would join adjacent strings to one.
    """
    parts: list[str] = []
    after_value = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _LAYOUT:
            continue
        is_value = token.type in _VALUES or token.string == "..."
        if after_value and (is_value or token.string in ("-", "[", "(")):
            parts.append(",")
        parts.append(_NAMES.get(token.string, token.string) if token.type == tokenize.NAME else token.string)
        after_value = is_value or token.string in ("]", ")")
    return " ".join(parts)
