"""Languages, and the choice of the pair of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from grafthub_translation.models import TranslationOptions
from hub.api import BadRequest

__all__ = ["choose_pair", "is_code", "language_code", "language_name"]

_CODE = re.compile(r"(?!src|tgt|txt)[a-z]{2,3}(?:[-_][A-Za-z]{2,8})?")  # ISO 639, with a region or script

# ISO 639-1, ISO 639-3, and the name, which models know better and prompts therefore have.
_LANGUAGES = """
    ar ara Arabic
    bg bul Bulgarian
    bn ben Bengali
    ca cat Catalan
    cs ces Czech
    da dan Danish
    de deu German
    el ell Greek
    en eng English
    es spa Spanish
    et est Estonian
    fa fas Persian
    fi fin Finnish
    fr fra French
    he heb Hebrew
    hi hin Hindi
    hr hrv Croatian
    hu hun Hungarian
    id ind Indonesian
    it ita Italian
    ja jpn Japanese
    ko kor Korean
    lt lit Lithuanian
    lv lav Latvian
    ms msa Malay
    nl nld Dutch
    no nor Norwegian
    pl pol Polish
    pt por Portuguese
    ro ron Romanian
    ru rus Russian
    sk slk Slovak
    sl slv Slovenian
    sr srp Serbian
    sv swe Swedish
    sw swa Swahili
    th tha Thai
    tr tur Turkish
    uk ukr Ukrainian
    ur urd Urdu
    vi vie Vietnamese
    zh zho Chinese
"""
_ROWS = tuple(tuple(line.split()) for line in _LANGUAGES.split("\n") if line)
_NAMES: Mapping[str, str] = MappingProxyType({code: row[2] for row in _ROWS for code in row[:2]})
_CODES: Mapping[str, str] = MappingProxyType({key.lower(): row[0] for row in _ROWS for key in row})


def is_code(name: str) -> bool:
    """Return whether a name has the form of a language code: `en`, `pt-BR`, `deu`."""
    return bool(_CODE.fullmatch(name))


def language_name(language: str) -> str:
    """Return the English name of a code of two or three letters; anything else unchanged."""
    return _NAMES.get(language.lower(), language)


def language_code(language: str) -> str:
    """Return the two-letter code of a code or name; the first part of anything else: `gl` of `gl-ES`."""
    first = re.split(r"[-_]", language.lower())[0]
    return _CODES.get(first, first)


def choose_pair(options: TranslationOptions, source: str | None, target: str | None) -> tuple[str, str]:
    """Return the pair to translate, in the adapter's spelling.

    Raises:
        BadRequest: the adapter has no such pair, or several and the request leaves it open.
    """
    default = options.default_pair
    pairs = options.pairs or ((default,) if default else ())
    if not pairs:
        if source is None or target is None:
            raise BadRequest(
                "This adapter has no language pair of its own: send source_language and target_language."
            )
        return source, target
    fitting = [pair for pair in pairs if _same(source, pair[0]) and _same(target, pair[1])]
    if len(fitting) == 1:
        return fitting[0]
    if source is None and target is None and default:
        return default
    listed = ", ".join(f"{pair[0]} to {pair[1]}" for pair in pairs)
    if fitting:
        raise BadRequest(
            f"This adapter translates {listed}: choose one with source_language and target_language."
        )
    asked = f"from {source or 'any language'} to {target or 'any language'}"
    raise BadRequest(f"This adapter translates {listed}, not {asked}.")


def _same(asked: str | None, language: str) -> bool:
    """Return whether `asked` is None or the language, by code or by name."""
    return asked is None or language_name(asked).casefold() == language_name(language).casefold()
