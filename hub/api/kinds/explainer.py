"""Explainers: how much each token, or each patch of an image, contributes to a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT

if TYPE_CHECKING:
    from torch import Tensor


class ExplainedScore(Protocol):
    """One score of a version for one row of T tokens; `model` is the base with the adapter, by plain PEFT.

    `baseline` is the row with all tokens but the special ones masked. `position` is the token whose score
    is explained, None if the head has one score per row. Of a base that reads images, the tokens are the
    patches, row by row: the id of each is 1, and 0 where it is masked, which makes it grey.
    """

    @property
    def model(self) -> Any: ...
    @property
    def ids(self) -> Tensor: ...  # [1, T]
    @property
    def types(self) -> Tensor | None: ...  # [1, T]
    @property
    def baseline(self) -> Sequence[int]: ...  # [T]
    @property
    def position(self) -> int | None: ...

    def __call__(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        """Return the score of each row: [B, T] to [B]; gradients flow."""

    def run(self, ids: Tensor, types: Tensor | None, **settings: Any) -> Any:
        """Run the model on rows [B, T] with more settings, such as `output_attentions`; return its output."""

    def value(self, ids: Tensor | None = None) -> float:
        """Return the score of a row [1, T], by default of the explained one."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The contribution of each token, [T].

    If they sum to the difference of the score from that of the baseline, set `baseline_score`; the error of
    that sum is then shown. `steps` is the work done, for people.
    """

    scores: Sequence[float]
    baseline_score: float | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class ExplainerSpec(ExtensionSpec):
    """An explainer; its name is a `method` of `hub explain` and of the route `explain`."""


class Explainer(Extension[SettingsT], ABC):
    """Attributes a score to tokens or patches; called one request at a time, in a thread of low priority."""

    @abstractmethod
    def attribute(self, score: ExplainedScore) -> TokenScores:
        """Return the contribution of each token of the row to the score."""
