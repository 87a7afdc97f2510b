"""The request, the response and the options of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from hub.api import Model, Text

__all__ = ["QaAnswer", "QaOptions", "QaRequest", "QaResponse"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
MAX_ANSWERS = 20


class QaRequest(Model):
    """A question about a text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "question": "Who designed the bridge?",
                    "context": "The bridge was designed by Ada Novak and opened in 1931.",
                    "top_k": 1,
                }
            ]
        }
    )

    question: Text = Field(description="The question.")
    context: Text = Field(description="The text to find the answer in.")
    top_k: int = Field(1, ge=1, le=MAX_ANSWERS, description="Maximum entries in `answers`.")


class QaAnswer(Model):
    """A span of the context: `context[start:end] == answer`, in characters (code points)."""

    answer: str = Field(description="The answer, as it is in the context.")
    score: Probability = Field(description="Probability among the best candidates and no answer.")
    start: int = Field(ge=0, description="First character of the answer in the context.")
    end: int = Field(ge=0, description="First character after the answer.")


class QaResponse(Model):
    """The best answer, its place in the context, and further candidates."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answer": "Ada Novak",
                    "score": 0.83,
                    "start": 27,
                    "end": 36,
                    "no_answer": False,
                    "no_answer_score": 0.02,
                    "answers": [{"answer": "Ada Novak", "score": 0.83, "start": 27, "end": 36}],
                }
            ]
        }
    )

    answer: str = Field(description="The best answer; empty if the context has none.")
    score: Probability = Field(description="Probability of `answer`, or of no answer.")
    start: int = Field(ge=0, description="First character of the answer in the context; 0 if none.")
    end: int = Field(ge=0, description="First character after the answer; 0 if none.")
    no_answer: bool = Field(description="The context does not contain the answer.")
    no_answer_score: Probability = Field(description="Probability that the context has no answer.")
    answers: list[QaAnswer] = Field(
        description="The best candidates, best first, without overlaps; listed even if `no_answer`."
    )


class QaOptions(Model):
    """Options of a recipe for `qa`."""

    doc_stride: int = Field(
        128, ge=0, description="Tokens that two windows of a long context share; at most half a window."
    )
    max_answer_length: int = Field(30, ge=1, le=128, description="Maximum length of an answer, in tokens.")
    no_answer: bool = Field(
        True, description="The context may have no answer; off: the best candidate is always the answer."
    )
    null_threshold: float = Field(
        0.0, description="No answer if its score exceeds the best candidate's by more than this, in logits."
    )
    max_windows: int = Field(256, ge=1, description="Maximum windows of a context; a longer one is refused.")
