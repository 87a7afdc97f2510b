"""The task `summarization`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from grafthub_summarization.models import SummarizationOptions, SummarizationRequest, SummarizationResponse
from hub.api import (
    AdapterInfo,
    BadData,
    BadRecipe,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    InvalidText,
    JoinedText,
    MetricKind,
    Output,
    Row,
    Task,
    Tokenizer,
    TooLarge,
    read_options,
)
from hub.task_tools import (
    answer_ids,
    control_token,
    divide,
    instruction_ids,
    overlap_signatures,
    text_overlap,
)

__all__ = ["SummarizationTask"]

IGNORED = -100  # by the loss
MIN_ROOM = 16  # tokens of a document in one row
# A part that is tokenized alone may have a few more tokens than within the document.
MARGIN = 8
# The ends of paragraphs, sentences and words.
ENDS = (
    re.compile(r"\n\s*\n"),
    re.compile(r"[.!?][\"')\]]*\s+|[。！？]|\n"),  # noqa: RUF001
    re.compile(r"\s+"),
)


class SummarizationTask(Task[SummarizationRequest, SummarizationResponse]):
    """Summarize a document with an instruction-tuned decoder; a long one in parts."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("document", FieldKind.TEXT, "A document."),
        Field("summary", FieldKind.TEXT, "Its summary."),
    )
    options: ClassVar[type[SummarizationOptions]] = SummarizationOptions
    metric: ClassVar[str] = "rouge_l"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "rouge_1": MetricKind.MEAN,
            "rouge_2": MetricKind.MEAN,
            "rouge_l": MetricKind.MEAN,
            "chrf": MetricKind.CORPUS,
        }
    )
    text_field: ClassVar[str] = "summary"
    max_length: ClassVar[int] = 1024

    def request(self, example: Example) -> SummarizationRequest:
        return SummarizationRequest(document=example["document"])

    def encode(self, request: SummarizationRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        if token := control_token(request.document, tokenizer):
            raise InvalidText(f"`document` contains {token!r}, a control token of the model. Remove it.")
        options = read_options(SummarizationOptions, adapter)
        new = request.max_new_tokens or options.max_new_tokens
        prompts = _prompts(request.document, new, tokenizer, adapter, options)
        return [Row(input_ids=prompt, max_new_tokens=new, sampling=request.sampling) for prompt in prompts]

    def decode(
        self, request: SummarizationRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> SummarizationResponse:
        parts = self.stream(request, [output.row for output in outputs], adapter)
        summary = parts.whole([output.text for output in outputs])
        return SummarizationResponse(summary=summary, parts=len(outputs))

    def stream(self, request: SummarizationRequest, rows: Sequence[Row], adapter: AdapterInfo) -> JoinedText:
        """Return what joins the summaries of the parts, one per line."""
        return JoinedText(["\n"] * len(rows))

    def agrees(self, answer: SummarizationResponse, other: SummarizationResponse) -> bool:
        """Return whether two summaries are equal apart from white space."""
        return answer.summary.split() == other.summary.split()

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if tokenizer.eos_token_id is None:
            raise BadRecipe("The base's tokenizer has no end token, so the model could not stop.")
        summary = example["summary"].strip()
        if token := control_token(summary, tokenizer):
            raise BadData(f"`summary` contains {token!r}, a control token of the model. Remove it.")
        try:
            prompts = [row.input_ids for row in self.encode(self.request(example), tokenizer, adapter)]
        except BadRequest as error:
            raise BadData(str(error)) from None
        if len(prompts) > 1:
            raise BadData(
                f"The document has {len(prompts)} parts; training needs documents of one part. "
                "Set a larger `max_length`."
            )
        prompt = list(prompts[0])
        answer = [*answer_ids(summary, tokenizer), tokenizer.eos_token_id]
        if len(prompt) + len(answer) > adapter.max_length:
            raise BadData(
                f"The row has {len(prompt) + len(answer):,} tokens with its summary; `max_length` is "
                f"{adapter.max_length:,}."
            )
        return [{"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}]

    def metrics(
        self, predictions: Sequence[SummarizationResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        """Return mean ROUGE F1 and corpus chrF."""
        overlap = text_overlap(
            [answer.summary for answer in predictions], [example["summary"] for example in references]
        )
        return {name: overlap[name] for name in ("rouge_1", "rouge_2", "rouge_l", "chrf")}

    def signatures(self) -> Mapping[str, str]:
        """Return sacrebleu's signature of chrF."""
        return {"chrf": overlap_signatures()["chrf"]}


def _prompts(
    document: str, new: int, tokenizer: Tokenizer, adapter: AdapterInfo, options: SummarizationOptions
) -> list[list[int]]:
    """Return the prompt of each part; with `new` tokens, each fits the limit of the adapter.

    Raises:
        TooLarge: the limit leaves no room for a part, or there are too many parts.
    """

    def prompt(text: str) -> list[int]:
        return instruction_ids(options.instruction.format(document=text), tokenizer)

    limit = adapter.max_length - new
    whole = prompt(document)
    if len(whole) <= limit:
        return [whole]
    instruction = len(prompt(""))
    room = limit - instruction - MARGIN
    if room < MIN_ROOM:
        raise TooLarge(
            f"max_new_tokens is {new:,} and the instruction has {instruction:,} tokens: this adapter's limit "
            f"of {adapter.max_length:,} tokens leaves no room for a document."
        )
    parts = [part for part in divide(document, room, tokenizer, ENDS, anywhere=True) if part.strip()]
    if len(parts) > options.max_parts:
        raise TooLarge(
            f"The document has {len(parts):,} parts of up to {room:,} tokens; this adapter's limit is "
            f"{options.max_parts} parts."
        )
    return [prompt(part.strip()) for part in parts]
