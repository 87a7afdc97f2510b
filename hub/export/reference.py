"""The reference outputs of the adapter in PEFT on the probes, and the comparison of a model with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.batch import by_ends
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.loading import pad_token
from hub.export.formats import Precision
from hub.export.model import answers, input_names, load_peft
from hub.export.parity import Parity, compare, spread_of
from hub.export.probe_images import image_batches
from hub.export.probes import Probe, batch_inputs, probe_batches
from hub.progress import Progress
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.export.parity import Array
    from hub.export.probes import Ints, Numbers

__all__ = ["Reference"]

MAX_PROMPT_TOKENS = 32  # each token has logits over the whole vocabulary
_PROMPTS = (1, 2, 5)


class Reference:
    """Loads a version on its base and runs the probes; `adapted` may be merged afterwards."""

    def __init__(self, version: Version, base: Base, progress: Progress) -> None:
        progress("load model", 0, 1)
        serving = version.manifest.serving
        self._head = serving.head
        self._multi_label = bool(serving.settings.get("multi_label"))
        self._spread = spread_of(serving)
        self._image_tokens = base.image.tokens if base.image else 0
        self.tokenizer: Any = load_tokenizer(base)
        self.adapted = load_peft(base, version, self.tokenizer)
        self.pad = pad_token(self.tokenizer)
        progress("load model", 1, 1)
        self.probes = [] if base.image else self._texts(serving.max_length)
        self.batches: Sequence[Mapping[str, Numbers]] = (
            image_batches(base.image) if base.image else self._tokens()
        )
        self._answers = []
        for done, batch in enumerate(self.batches, 1):
            self._answers.append(answers(self.adapted, serving, batch))
            progress("run PEFT", done, len(self.batches))

    def _texts(self, limit: int) -> list[list[Probe]]:
        if self._head is HeadKind.GENERATE:
            return probe_batches(self.tokenizer, min(limit, MAX_PROMPT_TOKENS), _PROMPTS)
        batches = probe_batches(self.tokenizer, limit)
        config = self.adapted.base_model.model.config
        if self._head is HeadKind.SEQUENCE and config.is_encoder_decoder:
            return [group for batch in batches for group in _by_ends(batch, config.eos_token_id)]
        return batches

    def _tokens(self) -> list[Mapping[str, Numbers]]:
        names = input_names(self.adapted.base_model.model, self.tokenizer)
        return [batch_inputs(batch, names, self.pad) for batch in self.probes]

    def _mask(self, batch: Mapping[str, Numbers]) -> Ints:
        """Return which tokens [B, T] are no padding; of an image, none is."""
        if "pixel_values" in batch:
            return np.ones((len(batch["pixel_values"]), self._image_tokens), np.int64)
        return cast("Ints", batch["attention_mask"])

    def compare(
        self,
        run: Callable[[Mapping[str, Numbers]], Sequence[Array]],
        precision: Precision,
        progress: Progress,
    ) -> Parity:
        """Run the probes on another model and compare its outputs.

        Raises:
            ExportFailed: the outputs differ too much.
        """
        found = []
        for done, (batch, expected) in enumerate(zip(self.batches, self._answers, strict=True), 1):
            mask = self._mask(batch)
            found.append(
                compare(
                    self._head,
                    expected,
                    run(batch),
                    mask,
                    multi_label=self._multi_label,
                    spread=self._spread,
                )
            )
            progress("compare", done, len(self.batches))
        largest = max(float(abs(array).max()) for arrays in self._answers for array in arrays)
        parity = Parity(precision, found, largest)
        parity.check()
        return parity


def _by_ends(batch: Sequence[Probe], end: int) -> list[list[Probe]]:
    groups = by_ends([list(probe.tokens["input_ids"]) for probe in batch], end)
    return [[batch[place] for place in places] for places in groups]
