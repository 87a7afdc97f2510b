"""Several values in one cell: a list as JSON, Python or numpy writes it, or words with a separator."""

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

MAX_LITERAL = 1_000_000  # characters; Python's parser needs some 100 bytes for each
_PAIRS = {"[": "]", "(": ")", "{": "}"}
_LISTED = re.compile(r"""[,'"]|\.\.\.""")  # a single word in brackets has none of these
_ADJACENT = re.compile(r"""['")\]]\s*[urbURB]?['"(\[]""")  # items without a comma, or an empty string
_BLANKS = re.compile(r"[ \t\r\n]+")  # not U+00A0, which may stand inside a token
_NAMES = {"nan": "None", "NaN": "None", "null": "None", "true": "True", "false": "False"}
# Text that pandas and numpy write for a value that is not there; nobody names a class so.
_MISSING = frozenset({"nan", "NaN", "<NA>", "NaT"})
_VALUES = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)
_LAYOUT = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


class UnreadableList(ValueError):
    """A cell looks like a list and cannot be read as one; the message is the reason."""


def is_missing(value: Any) -> bool:
    """Return whether a value is what data frames hold where there is none: None, NaN, pandas' NA or NaT."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip() in _MISSING
    return isinstance(value, float) and math.isnan(value)


def literal_list(text: str) -> list[Any] | None:
    """Return the list that a text writes out: `["a", "b"]`, `['a', 'b']`, `('a', 'b')`, `['a' 'b']`, `[0 1]`.

    None is returned for a text that is no list, such as `[other]` or `(see below)`.

    Raises:
        UnreadableList: it starts and ends like a list, and its items cannot be told apart.
    """
    text = text.strip()
    if len(text) < 2 or _PAIRS.get(text[0]) != text[-1]:
        return None
    found = _from_json(text) if text[0] == "[" else None
    if found is None:
        found = _from_python(text)
    if found is None and text[0] != "(" and _LISTED.search(text):
        raise UnreadableList("looks like a list, and is neither a JSON nor a Python list")
    if found and Ellipsis in found:
        raise UnreadableList("is a list that was shortened when it was written (`...`)")
    return found


def literal(text: str) -> Any:
    """Return the list or object that a text writes out, as JSON or as Python prints it.

    Raises:
        UnreadableList: it is neither.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value = _evaluated(text.strip(), _with_commas) if len(text) <= MAX_LITERAL else None
    if value is None:
        raise UnreadableList("is neither JSON nor a Python list")
    return value


def split_cell(text: str, separator: str | None, default: str | None) -> list[Any]:
    """Return the items of a cell: those of a list that is written out, else the parts between separators.

    `default` separates them if `separator` is None; a `default` of None stands for runs of ASCII space.

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
    if len(text) <= MAX_LITERAL:
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
            warnings.simplefilter("ignore")  # the parser warns of backslashes in strings
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
        if token.type in (
            tokenize.NEWLINE,
            tokenize.NL,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.ENDMARKER,
        ):
            continue
        is_value = token.type in _VALUES or token.string == "..."
        if after_value and (is_value or token.string in ("-", "[", "(")):
            parts.append(",")
        parts.append(_NAMES.get(token.string, token.string) if token.type == tokenize.NAME else token.string)
        after_value = is_value or token.string in ("]", ")")
    return " ".join(parts)
