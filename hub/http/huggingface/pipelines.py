"""How the pipelines of Hugging Face ask a task and read its answer, chosen by the fields of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hub.errors import BadRequest, Conflict
from hub.http.huggingface.pipeline import HfPipeline, Json, listed
from hub.http.huggingface.text_vectors import VectorPipeline
from hub.http.openai.requests import text_input
from hub.serving.routing.routes import Route
from hub.store.records import Version

__all__ = ["ImageClassification", "TextClassification", "pipeline_of"]


class TextClassification(HfPipeline):
    """Scores of labels, the best first."""

    ignored = frozenset({"top_k"})  # read in `answer`

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return "text" in asked and "scores" in answered

    def inputs(self, given: Any) -> list[dict[str, Any]]:
        return [one if isinstance(one, dict) else {"text": one} for one in listed(given)]

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        best = parameters.get("top_k")
        if best is not None and (not isinstance(best, int) or isinstance(best, bool) or best < 1):
            raise BadRequest("top_k must be a whole number from 1.")
        return [self.ordered(answer["scores"])[:best] for answer in answers]

    @staticmethod
    def ordered(scores: Mapping[str, float]) -> list[Json]:
        """Return the labels with their scores, the most probable first."""
        ordered = sorted(scores.items(), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ordered]


class ImageClassification(TextClassification):
    """Scores of the labels of an image, which is sent in base64, or alone as the body."""

    settings: ClassVar[Json] = {}
    ignored = frozenset({"top_k", "function_to_apply"})

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return "image" in asked and "scores" in answered

    def inputs(self, given: Any) -> list[dict[str, Any]]:
        return [{"image": one} for one in listed(given)]

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        if parameters.get("function_to_apply") not in (None, "softmax"):
            raise BadRequest("function_to_apply must be softmax, which the scores are by.")
        found = [super(ImageClassification, self).answer([one], parameters, many=True)[0] for one in answers]
        return found if many else found[0]


class TokenClassification(HfPipeline):
    """The entities of a text."""

    settings: ClassVar[Json] = {"aggregation_strategy": "aggregation"}

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return "text" in asked and "entities" in answered

    def inputs(self, given: Any) -> list[dict[str, Any]]:
        return [{"text": one} for one in listed(given)]

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        found = [answer["entities"] for answer in answers]
        return found if many else found[0]


class QuestionAnswering(HfPipeline):
    """Spans of a context that answer a question."""

    settings: ClassVar[Json] = {"top_k": "top_k"}

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return {"question", "context"} <= asked and "answers" in answered

    def inputs(self, given: Any) -> list[dict[str, Any]]:
        found = listed(given)
        if not all(isinstance(one, dict) for one in found):
            raise BadRequest('inputs must be {"question": ..., "context": ...}.')
        return list(found)

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        one = parameters.get("top_k") in (None, 1)
        found = [_span(answer) if one else [_span(span) for span in answer["answers"]] for answer in answers]
        return found if many else found[0]


class TextOutput(HfPipeline):
    """Text that is written to a text; the subclasses name it."""

    settings: ClassVar[Json] = {
        "src_lang": "source_language",
        "tgt_lang": "target_language",
        **{
            name: name
            for name in (
                "max_new_tokens",
                "temperature",
                "top_k",
                "top_p",
                "min_p",
                "seed",
                "stop",
                "repetition_penalty",
                "num_beams",
                "length_penalty",
                "response_format",
            )
        },
    }
    ignored = frozenset(
        {
            "clean_up_tokenization_spaces",
            "details",  # read in `answer`
            "do_sample",  # read in `fields`
            "decoder_input_details",
            "return_full_text",
            "stop_sequences",
            "watermark",
        }
    )
    field: ClassVar[str] = ""
    output: ClassVar[str] = ""

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return cls.field in answered

    def inputs(self, given: Any) -> list[dict[str, Any]]:
        name = text_input(self.route)
        return [{name: one} for one in listed(given)]

    def fields(self, parameters: Json) -> dict[str, Any]:
        if parameters.get("return_full_text"):
            raise BadRequest("Answers do not repeat the prompt: leave out return_full_text.")
        nested = parameters.get("generate_parameters")
        merged = {**parameters, **(nested if isinstance(nested, Mapping) else {})}
        merged.pop("generate_parameters", None)
        stops = merged.get("stop") or merged.get("stop_sequences")
        if merged.get("do_sample") is False:
            merged["temperature"] = None
        elif merged.get("do_sample") and merged.get("temperature") is None:
            merged["temperature"] = 1.0
        return super().fields({**merged, "stop": stops or None})

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        return [{self.output: answer[self.field]} for answer in answers]


class Translation(TextOutput):
    """A translation."""

    field, output = "translation", "translation_text"


class Summarization(TextOutput):
    """A summary."""

    field, output = "summary", "summary_text"


class TextGeneration(TextOutput):
    """A text that continues a prompt."""

    field, output = "text", "generated_text"

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return "prompt" in asked and "text" in answered

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        if not parameters.get("details"):
            return super().answer(answers, parameters, many=many)
        return [
            {self.output: answer[self.field], "details": details(answer, parameters)} for answer in answers
        ]


_KINDS: Sequence[type[HfPipeline]] = (
    QuestionAnswering,
    TokenClassification,
    TextClassification,
    ImageClassification,
    Translation,
    Summarization,
    TextGeneration,
    VectorPipeline,
)


def pipeline_of(route: Route, version: Version) -> HfPipeline:
    """Return the pipeline of a deployment's task; `version` is the one that answers.

    Raises:
        Conflict: none fits.
    """
    asked, answered = (frozenset(model.model_fields) for model in (route.task.request, route.task.response))
    for kind in _KINDS:
        if kind.fits(asked, answered):
            return kind(route, version)
    raise Conflict(
        f"Deployment {route.name!r} serves the task {route.task.spec.name!r}, which is none of Hugging "
        f"Face's pipelines. Use /v1/deployments/{route.name}/predict."
    )


def details(answer: Json, parameters: Json) -> Json:
    """Return the reason why a text ended and its number of tokens; the tokens themselves are not listed."""
    stops = parameters.get("stop") or parameters.get("stop_sequences")
    reason = str(answer.get("finish_reason") or "stop")
    return {
        "finish_reason": "length" if reason == "length" else "stop_sequence" if stops else "eos_token",
        "generated_tokens": answer.get("completion_tokens", 0),
        "input_length": answer.get("prompt_tokens", 0),
        "prefill": [],
        "tokens": [],
        "seed": parameters.get("seed"),
    }


def _span(found: Json) -> Json:
    return {name: found[name] for name in ("answer", "score", "start", "end")}
