"""The task `translation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import ValidationError

from grafthub_translation.glossary import fill, has_terms
from grafthub_translation.languages import choose_pair, is_code, language_code
from grafthub_translation.layout import Joining, lay_out
from grafthub_translation.models import (
    AppliedTerm,
    TranslationOptions,
    TranslationRequest,
    TranslationResponse,
)
from grafthub_translation.prompt import Prompts, check_text, default_template, target_ids
from grafthub_translation.sentences import find_sentences, stripped
from hub.api import (
    AdapterInfo,
    BadData,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    MetricKind,
    Output,
    Row,
    Task,
    Tokenizer,
    TooLarge,
    read_options,
)
from hub.task_tools import overlap_signatures, text_overlap

__all__ = ["TranslationTask"]

IGNORED = -100  # by the loss
MAX_PIECES = 4096  # refused before they are tokenized; the server's limits.rows is usually lower
PIECE = "piece"  # the key of a row's piece in its `meta`


class TranslationTask(Task[TranslationRequest, TranslationResponse]):
    """Translate with an adapter for one or more language pairs, on a decoder or an encoder-decoder."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("source", FieldKind.TEXT, "A text."),
        Field("target", FieldKind.TEXT, "Its translation."),
        Field("source_language", FieldKind.TEXT, "Language of the text.", required=False),
        Field("target_language", FieldKind.TEXT, "Language of the translation.", required=False),
    )
    options: ClassVar[type[TranslationOptions]] = TranslationOptions
    metric: ClassVar[str] = "chrf"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "bleu": MetricKind.CORPUS,
            "chrf": MetricKind.CORPUS,
            "rouge_1": MetricKind.MEAN,
            "rouge_2": MetricKind.MEAN,
            "rouge_l": MetricKind.MEAN,
        }
    )
    max_length: ClassVar[int] = 256
    text_field: ClassVar[str] = "translation"
    encoder_decoders: ClassVar[bool] = True

    def suggest_options(self, columns: Mapping[str, str | int]) -> Mapping[str, Any]:
        """Return the language pair in the names of the columns, if any."""
        pair = {f"{side}_language": columns.get(side) for side in ("source", "target")}
        named = [name for name in pair.values() if isinstance(name, str) and is_code(name)]
        return pair if len(named) == len(pair) else {}

    def settle(self, adapter: AdapterInfo, tokenizer: Tokenizer, model_type: str) -> Mapping[str, Any]:
        """Add the template of the base, unless the recipe has one."""
        options = read_options(TranslationOptions, adapter)
        template = options.template or default_template(options, tokenizer, adapter, model_type)
        return {**adapter.settings, "template": template}

    def request(self, example: Example) -> TranslationRequest:
        return TranslationRequest(
            text=example["source"],
            source_language=example.get("source_language"),
            target_language=example.get("target_language"),
        )

    def encode(self, request: TranslationRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        options = read_options(TranslationOptions, adapter)
        prompts = _prompts(request, tokenizer, adapter, options)
        text, terms = fill(request.text, options.glossary | request.glossary)
        check_text(text, tokenizer)
        sentences = [stripped(text, (0, len(text)))]
        if options.split if request.split is None else request.split:
            language = language_code(prompts.pair[0])
            spans = list(find_sentences(text, language, [term.span for term in terms]))
            _check_count(len(spans))
            sentences = list(prompts.divide(text, spans, terms))
        pieces = lay_out(text, sentences, terms)
        _check_count(len(pieces))
        return [
            Row(
                input_ids=prompts.ids(piece.text),
                max_new_tokens=options.max_new_tokens,
                sampling=request.sampling,
                meta={PIECE: piece},
            )
            for piece in pieces
        ]

    def decode(
        self, request: TranslationRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> TranslationResponse:
        options = read_options(TranslationOptions, adapter)
        source, target = choose_pair(options, request.source_language, request.target_language)
        parts = self.stream(request, [output.row for output in outputs], adapter)
        translation = parts.whole([output.text for output in outputs])
        _, terms = fill(request.text, options.glossary | request.glossary)
        applied = [
            AppliedTerm(term=term.term, translation=term.translation, method=parts.methods.get(term, "parts"))
            for term in terms
        ]
        return TranslationResponse(
            translation=translation,
            source_language=source,
            target_language=target,
            glossary=tuple(dict.fromkeys(applied)),
        )

    def stream(self, request: TranslationRequest, rows: Sequence[Row], adapter: AdapterInfo) -> Joining:
        """Return what joins the translations of the sentences."""
        return Joining([row.meta[PIECE] for row in rows])

    def agrees(self, answer: TranslationResponse, other: TranslationResponse) -> bool:
        """Return whether two translations are equal apart from white space."""
        return answer.translation.split() == other.translation.split()

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        options = read_options(TranslationOptions, adapter)
        target = example["target"].strip()
        try:
            request = self.request(example)
            filled, terms = fill(request.text, options.glossary)
            learns = has_terms(target, [term.translation for term in terms])
            text = (filled if learns else request.text).strip()
            check_text(text, tokenizer)
            prompt = _prompts(request, tokenizer, adapter, options).ids(text)
            answer = target_ids(target, tokenizer, adapter)
        except (BadRequest, ValidationError) as error:
            raise BadData(_reason(error)) from None
        if not target:
            raise BadData("The target is empty.")
        if adapter.encoder_decoder:
            return [{"input_ids": prompt, "labels": answer[: adapter.max_length]}]
        answer = answer[: adapter.max_length - len(prompt)]
        return [{"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}]

    def metrics(
        self, predictions: Sequence[TranslationResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        """Return corpus BLEU and chrF, and mean ROUGE F1."""
        predicted = [answer.translation for answer in predictions]
        return text_overlap(predicted, [example["target"] for example in references])

    def signatures(self) -> Mapping[str, str]:
        """Return sacrebleu's signatures."""
        return overlap_signatures()


def _check_count(count: int) -> None:
    if count > MAX_PIECES:
        raise TooLarge(
            f"The text has {count:,} sentences and parts around terms; the limit is {MAX_PIECES:,}."
        )


def _prompts(
    request: TranslationRequest, tokenizer: Tokenizer, adapter: AdapterInfo, options: TranslationOptions
) -> Prompts:
    pair = choose_pair(options, request.source_language, request.target_language)
    template = options.template or default_template(options, tokenizer, adapter)
    return Prompts(template, pair, tokenizer, adapter)


def _reason(error: BadRequest | ValidationError) -> str:
    if isinstance(error, BadRequest):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"`{first['loc'][0]}`: {first['msg']}."
