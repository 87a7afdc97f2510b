"""The task `translation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError

from grafthub_translation.languages import choose_pair, is_code
from grafthub_translation.models import TranslationOptions, TranslationRequest, TranslationResponse
from grafthub_translation.prompt import prompt_ids, target_ids
from hub.api import (
    AdapterInfo,
    BadData,
    BadRecipe,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    Output,
    Row,
    Task,
    Tokenizer,
    TooLarge,
    read_options,
)
from hub.task_tools import text_overlap

__all__ = ["TranslationTask"]

IGNORED = -100  # by the loss


class TranslationTask(Task[TranslationRequest, TranslationResponse]):
    """Translate with an instruction-tuned decoder and an adapter trained on its language pairs."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("source", FieldKind.TEXT, "A text."),
        Field("target", FieldKind.TEXT, "Its translation."),
        Field("source_language", FieldKind.TEXT, "Language of the text.", required=False),
        Field("target_language", FieldKind.TEXT, "Language of the translation.", required=False),
    )
    options: ClassVar[type[TranslationOptions]] = TranslationOptions
    metric: ClassVar[str] = "chrf"
    max_length: ClassVar[int] = 256

    def suggest_options(self, columns: Mapping[str, str | int]) -> Mapping[str, Any]:
        """Return the language pair in the names of the columns, if any."""
        pair = {f"{side}_language": columns.get(side) for side in ("source", "target")}
        named = [name for name in pair.values() if isinstance(name, str) and is_code(name)]
        return pair if len(named) == len(pair) else {}

    def request(self, example: Example) -> TranslationRequest:
        return TranslationRequest(
            text=example["source"],
            source_language=example.get("source_language"),
            target_language=example.get("target_language"),
        )

    def encode(self, request: TranslationRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        options = read_options(TranslationOptions, adapter)
        prompt = _prompt(request, tokenizer, adapter, options)
        return [Row(input_ids=prompt, max_new_tokens=options.max_new_tokens)]

    def decode(
        self, request: TranslationRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> TranslationResponse:
        source, target = choose_pair(
            read_options(TranslationOptions, adapter), request.source_language, request.target_language
        )
        return TranslationResponse(
            translation=outputs[0].text.strip(), source_language=source, target_language=target
        )

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if tokenizer.eos_token_id is None:
            raise BadRecipe("The base's tokenizer has no end token, so the model could not stop.")
        try:
            prompt = _prompt(
                self.request(example), tokenizer, adapter, read_options(TranslationOptions, adapter)
            )
            answer = [*target_ids(example["target"].strip(), tokenizer), tokenizer.eos_token_id]
        except (BadRequest, ValidationError) as error:
            raise BadData(_reason(error)) from None
        if len(answer) == 1:
            raise BadData("The target is empty.")
        answer = answer[: adapter.max_length - len(prompt)]
        return [{"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}]

    def metrics(
        self, predictions: Sequence[TranslationResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        """Return corpus BLEU and chrF, and mean ROUGE F1."""
        predicted = [answer.translation for answer in predictions]
        return text_overlap(predicted, [example["target"] for example in references])


def _prompt(
    request: TranslationRequest, tokenizer: Tokenizer, adapter: AdapterInfo, options: TranslationOptions
) -> list[int]:
    """Return the whole prompt, never truncated; at least one token of the row is left for the answer."""
    pair = choose_pair(options, request.source_language, request.target_language)
    prompt = prompt_ids(request.text, pair, tokenizer, options.template)
    if len(prompt) >= adapter.max_length:
        raise TooLarge(
            f"The text and its instruction take {len(prompt)} tokens; this adapter takes fewer than "
            f"{adapter.max_length}. Send the text in parts."
        )
    return prompt


def _reason(error: BadRequest | ValidationError) -> str:
    if isinstance(error, BadRequest):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"`{first['loc'][0]}`: {first['msg']}."
