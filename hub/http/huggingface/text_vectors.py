"""Vectors of texts, similarity of sentences, and labels without training, by one deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hub.errors import BadRequest
from hub.http.huggingface.pipeline import HfPipeline, Json, listed
from hub.http.vectors import hypotheses, label_scores

__all__ = ["VectorPipeline"]

TEMPLATE = "This example is {}."  # the default of Hugging Face's pipeline
_PROMPTS = {"query": "query", "document": "text", "passage": "text", "text": "text"}
_ZERO_SHOT = ("candidate_labels", "hypothesis_template", "multi_label")


class VectorPipeline(HfPipeline):
    """Three kinds of call, told apart by their body.

    With `candidate_labels` it is zero-shot-classification, with a `source_sentence` sentence-similarity, and
    else feature-extraction.
    """

    settings: ClassVar[Json] = {
        "normalize": "normalize",
        "truncate": "truncate",
        "dimensions": "dimensions",
        "prompt_name": "input_type",
    }

    @classmethod
    def fits(cls, asked: frozenset[str], answered: frozenset[str]) -> bool:
        return {"inputs", "query"} <= asked and {"vectors", "scores"} <= answered

    def requests(self, given: Any, parameters: Json) -> list[dict[str, Any]]:
        if "candidate_labels" not in parameters:
            return super().requests(given, parameters)
        template = str(parameters.get("hypothesis_template") or TEMPLATE)
        texts = hypotheses(_labels(parameters), template, len(listed(given)))
        fields = self.fields({name: value for name, value in parameters.items() if name not in _ZERO_SHOT})
        return [{"query": one, "inputs": texts, "vectors": False, **fields} for one in listed(given)]

    def inputs(self, given: Any) -> list[dict[str, Any]]:
        if not isinstance(given, dict):
            return [{"inputs": given}]
        if given.keys() != {"source_sentence", "sentences"}:
            raise BadRequest(
                'inputs must be a text, a list, or {"source_sentence": ..., "sentences": [...]}.'
            )
        return [{"query": given["source_sentence"], "inputs": given["sentences"], "vectors": False}]

    def places(self, given: Any, number: int, fields: Json) -> dict[str, str]:
        found = super().places(given if "query" in fields else [given], 0, fields)
        if "query" not in fields:
            return {**found, "inputs": "inputs"}
        if isinstance(given, dict):
            return {**found, "query": "inputs.source_sentence", "inputs": "inputs.sentences"}
        place = f"inputs.{number}" if isinstance(given, list) else "inputs"
        return {**found, "query": place, "inputs": "parameters.candidate_labels"}

    def fields(self, parameters: Json) -> dict[str, Any]:
        found = dict(parameters)
        if found.pop("truncation_direction", None) not in (None, "right"):
            raise BadRequest("truncation_direction is right: texts are cut at their end.")
        if found.pop("encoding_format", None) not in (None, "float"):
            raise BadRequest("encoding_format is float here. /v1/embeddings has base64.")
        name = found.get("prompt_name")
        if name is not None and name not in _PROMPTS:
            raise BadRequest(f"prompt_name must be one of: {', '.join(_PROMPTS)}.")
        return super().fields({**found, "prompt_name": name and _PROMPTS[name]})

    def answer(self, answers: Sequence[Json], parameters: Json, *, many: bool) -> Any:
        if "candidate_labels" in parameters:
            found = [self._ranked(answer["scores"], parameters) for answer in answers]
            return found if many else found[0]
        (answer,) = answers
        return answer["vectors"] if answer["vectors"] is not None else answer["scores"]

    def _ranked(self, scores: Sequence[float], parameters: Json) -> list[Json]:
        several = bool(parameters.get("multi_label"))
        shares = label_scores(self.route.task, self.version.info, scores, multi_label=several)
        pairs = sorted(zip(_labels(parameters), shares, strict=True), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in pairs]


def _labels(parameters: Json) -> list[str]:
    labels = parameters["candidate_labels"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise BadRequest("candidate_labels must be a list of at least one text.")
    return labels
