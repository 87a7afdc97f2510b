"""Finds personal data with presidio-analyzer, without network access."""

from __future__ import annotations

import logging
from typing import Any

from hub.data.pii import Detector, PiiMatch, without_overlaps
from hub.errors import MissingExtra
from hub.files import expanded
from hub.recipe.recipe import Recipe

try:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import EmailRecognizer
except ModuleNotFoundError:
    raise MissingExtra.of("data.pii.detector: presidio", "pii") from None

__all__ = ["KINDS", "presidio"]

MIN_PHONE_SCORE = 0.4  # presidio's own score of a phone number; lower scores are bare digits
_NAMES = {
    "EMAIL_ADDRESS": "EMAIL",
    "IBAN_CODE": "IBAN",
    "CREDIT_CARD": "CARD",
    "IP_ADDRESS": "IP",
    "PHONE_NUMBER": "PHONE",
}
_NOT_PERSONAL = frozenset({"URL", "DATE_TIME"})
_FROM_MODEL = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")
# Only addresses whose domain is on the package's own list of public suffixes; nothing is downloaded.
_SUFFIXES = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it warns about every other language


class _Email(EmailRecognizer):  # type: ignore[misc]
    def validate_result(self, pattern_text: str) -> bool:
        return bool(_SUFFIXES(pattern_text).fqdn)


class _Loaded(SpacyNlpEngine):  # type: ignore[misc]
    """Uses a loaded spaCy pipeline; presidio's own engine downloads missing ones."""

    def __init__(self, pipeline: Any, language: str) -> None:
        super().__init__(models=[{"lang_code": language, "model_name": "given"}])
        self.nlp = {language: pipeline}


def presidio(recipe: Recipe) -> Detector:
    """Return presidio's analyzer for the recipe's language; names and places need `data.pii.model`.

    Raises:
        BadRecipe: no such spaCy model is installed, or spaCy does not support the language.
    """
    rules = recipe.data.pii
    registry = _registry(rules.language)
    analyzer = AnalyzerEngine(
        registry=registry,
        nlp_engine=_Loaded(_pipeline(recipe), rules.language),
        supported_languages=[rules.language],
    )

    def find(text: str) -> list[PiiMatch]:
        results = analyzer.analyze(text, language=rules.language, score_threshold=MIN_PHONE_SCORE)
        results.sort(key=lambda result: (-result.score, result.start - result.end, result.start))
        named = (
            PiiMatch(one.start, one.end, _NAMES.get(one.entity_type, one.entity_type))
            for one in results
            if one.entity_type not in _NOT_PERSONAL
        )
        return without_overlaps(named)

    return find


def _registry(language: str) -> RecognizerRegistry:
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language])
    for unwanted in ("UrlRecognizer", "EmailRecognizer"):
        registry.remove_recognizer(unwanted)
    registry.add_recognizer(_Email(supported_language=language))
    return registry


def _pipeline(recipe: Recipe) -> Any:
    rules = recipe.data.pii
    if rules.model is None:
        try:
            return spacy.blank(rules.language)
        except ImportError:
            raise recipe.error(
                "data.pii.language", f"spaCy does not support the language {rules.language!r}"
            ) from None
    folder = recipe.folder / expanded(rules.model)
    if not (folder.is_dir() or spacy.util.is_package(rules.model)):
        raise recipe.error(
            "data.pii.model", f"{rules.model!r} is neither an installed spaCy model nor a folder"
        )
    return spacy.load(folder if folder.is_dir() else rules.model)


def _kinds() -> tuple[str, ...]:
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers()
    found = {_NAMES.get(kind, kind) for kind in registry.get_supported_entities()}
    return tuple(sorted({*found, *_FROM_MODEL} - _NOT_PERSONAL))


KINDS = _kinds()
