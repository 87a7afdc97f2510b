"""Finds personal data in texts: position and kind."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from hub.recipe.recipe import Recipe

__all__ = ["BUILTIN_KINDS", "Detector", "PiiMatch", "builtin", "make_detector"]


class PiiMatch(NamedTuple):
    """Personal data at characters `start` to `end` of a text; does not contain the text."""

    start: int
    end: int
    kind: str

    @property
    def mask(self) -> str:
        return f"<{self.kind}>"


Detector = Callable[[str], list[PiiMatch]]
"""Returns the matches in a text, sorted and without overlaps."""


def make_detector(recipe: Recipe) -> Detector | None:
    """Return the detector for the kinds in `data.pii`; None if personal data is ignored.

    Raises:
        BadRecipe: an unknown kind, or no such spaCy model.
        MissingExtra: presidio is not installed.
    """
    rules = recipe.data.pii
    if rules.action == "ignore":
        return None
    if rules.detector == "presidio":
        from hub.data.presidio import KINDS, presidio

        find, known = presidio(recipe), KINDS
    else:
        find, known = builtin, BUILTIN_KINDS
    for number, kind in enumerate(rules.kinds):
        if kind not in known:
            names = ", ".join(known)
            raise recipe.error(f"data.pii.kinds.{number}", f"{kind!r} is not a kind. Available: {names}")
    wanted = frozenset(rules.kinds or known)
    return lambda text: [found for found in find(text) if found.kind in wanted]


def without_overlaps(found: Iterable[PiiMatch]) -> list[PiiMatch]:
    """Return the matches sorted; of overlapping ones, only the first in `found` is kept."""
    kept: list[PiiMatch] = []
    for one in found:
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            kept.append(one)
    return sorted(kept)


def builtin(text: str) -> list[PiiMatch]:
    """Find e-mail addresses, IBANs, card and telephone numbers, and IP addresses.

    IBANs are validated by ISO 7064 mod 97-10, cards by issuer and the Luhn algorithm (ISO/IEC 7812-1).
    """
    if not _HINT.search(text):
        return []
    return without_overlaps(
        PiiMatch(start, end, kind)
        for kind, pattern, check in _KINDS
        for match in pattern.finditer(text)
        for start, end in check(match)
    )


Spans = Iterator[tuple[int, int]]

_HINT = re.compile(r"@|[0-9][^A-Za-z]{0,3}[0-9].{0,3}[0-9]|::")
_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w%+-](?:[\w.%+-]{0,62}[\w%+-])?@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CARD = re.compile(r"(?<![\w.-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])")
_ISSUER = re.compile(r"4|5[0-8]|2[2-7]|3[04-9]|6")
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+[0-9]{1,3}(?:[ .()/-]{0,2}[0-9]){6,12}"  # with a country code
    r"|\([2-9][0-9]{2}\) ?[0-9]{3}[ .-][0-9]{4}|[2-9][0-9]{2}([ .-])[2-9][0-9]{2}\1[0-9]{4}"  # North America
    r"|0[1-9][0-9]{1,4}[ /-]{1,3}[0-9]{2,5}(?:[ -]?[0-9]{2,4}){1,4}"  # with a trunk prefix
    r"|0[1-9](?:[ .-]?[0-9]{2}){4}"  # in pairs, as in France
    r")(?![\w-])"
)


def _any(match: re.Match[str]) -> Spans:
    yield match.span()


def _iban(match: re.Match[str]) -> Spans:
    """Shorten the match from the right until the check digits are valid: capital words may follow."""
    text = match[0]
    for end in range(len(text), 14, -1):
        if end < len(text) and text[end].isalnum() and text[end - 1] != " ":
            continue
        joined = text[:end].replace(" ", "")
        digits = "".join(str(int(char, 36)) for char in joined[4:] + joined[:4])
        if int(digits) % 97 == 1:
            yield match.start(), match.start() + len(text[:end].rstrip())
            return


def _card(match: re.Match[str]) -> Spans:
    digits = [int(char) for char in match[0] if char.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    if _ISSUER.match(match[0]) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0:
        yield match.span()


def _address(match: re.Match[str]) -> Spans:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return
    if match[0] != "::":
        yield match.span()


_KINDS: Sequence[tuple[str, re.Pattern[str], Callable[[re.Match[str]], Spans]]] = (
    ("EMAIL", _EMAIL, _any),
    ("IBAN", _IBAN, _iban),
    ("CARD", _CARD, _card),
    ("IP", _IPV4, _address),
    ("IP", _IPV6, _address),
    ("PHONE", _PHONE, _any),
)
BUILTIN_KINDS = tuple(dict.fromkeys(kind for kind, _, _ in _KINDS))
