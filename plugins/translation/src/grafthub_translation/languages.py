"""Languages, and the choice of the pair of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from grafthub_translation.models import TranslationOptions
from hub.api import BadRequest

__all__ = ["choose_pair", "is_code", "language_name"]

_CODE = re.compile(r"(?!src|tgt|txt)[a-z]{2,3}(?:[-_][A-Za-z]{2,8})?")  # ISO 639, with a region or script

# By ISO 639-1 code; prompts have the names, which models know better.
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "ar": "Arabic",
        "bg": "Bulgarian",
        "bn": "Bengali",
        "ca": "Catalan",
        "cs": "Czech",
        "da": "Danish",
        "de": "German",
        "el": "Greek",
        "en": "English",
        "es": "Spanish",
        "et": "Estonian",
        "fa": "Persian",
        "fi": "Finnish",
        "fr": "French",
        "he": "Hebrew",
        "hi": "Hindi",
        "hr": "Croatian",
        "hu": "Hungarian",
        "id": "Indonesian",
        "it": "Italian",
        "ja": "Japanese",
        "ko": "Korean",
        "lt": "Lithuanian",
        "lv": "Latvian",
        "ms": "Malay",
        "nl": "Dutch",
        "no": "Norwegian",
        "pl": "Polish",
        "pt": "Portuguese",
        "ro": "Romanian",
        "ru": "Russian",
        "sk": "Slovak",
        "sl": "Slovenian",
        "sr": "Serbian",
        "sv": "Swedish",
        "sw": "Swahili",
        "th": "Thai",
        "tr": "Turkish",
        "uk": "Ukrainian",
        "ur": "Urdu",
        "vi": "Vietnamese",
        "zh": "Chinese",
    }
)


def is_code(name: str) -> bool:
    """Return whether a name has the form of a language code: `en`, `pt-BR`, `deu`."""
    return bool(_CODE.fullmatch(name))


def language_name(language: str) -> str:
    """Return the English name of a two-letter code; anything else unchanged."""
    return _NAMES.get(language.lower(), language)


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
