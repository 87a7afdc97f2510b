"""The reference outputs of the adapter in PEFT on the probes, and the comparison of a model with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.loading import pad_token
from hub.export.formats import Precision
from hub.export.model import answers, input_names, load_peft
from hub.export.parity import Parity, compare, spread_of
from hub.export.probes import batch_inputs, probe_batches
from hub.progress import Progress
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.export.parity import Array, spread_of
    from hub.export.probes import Ints

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
        self.tokenizer: Any = load_tokenizer(base)
        self.adapted = load_peft(base, version, self.tokenizer)
        self.pad = pad_token(self.tokenizer)
        progress("load model", 1, 1)
        if self._head is HeadKind.GENERATE:
            limit = min(serving.max_length, MAX_PROMPT_TOKENS)
            self.probes = probe_batches(self.tokenizer, limit, _PROMPTS)
        else:
            self.probes = probe_batches(self.tokenizer, serving.max_length)
        names = input_names(self.adapted.base_model.model, self.tokenizer)
        self.batches = [batch_inputs(batch, names, self.pad) for batch in self.probes]
        self._answers = []
        for done, batch in enumerate(self.batches, 1):
            self._answers.append(answers(self.adapted, serving, batch))
            progress("run PEFT", done, len(self.batches))

    def compare(
        self,
        run: Callable[[Mapping[str, Ints]], Sequence[Array]],
        precision: Precision,
        progress: Progress,
    ) -> Parity:
        """Run the probes on another model and compare its outputs.

        Raises:
            ExportFailed: the outputs differ too much.
        """
        found = []
        for done, (batch, expected) in enumerate(zip(self.batches, self._answers, strict=True), 1):
            mask = batch["attention_mask"]
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
