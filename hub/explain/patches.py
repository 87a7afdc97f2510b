# ruff: noqa: TID253 - imported only when a stored version is explained
"""A score of an image as a function of which of its patches are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from hub.api import ImageInput
from hub.explain.explanation import PatchGrid

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["HIDDEN", "SHOWN", "PatchScore", "grid_of"]

HIDDEN, SHOWN = 0, 1  # the ids of a patch
GREY = 127.5  # of 255; the colour of a hidden patch
MAX_TOKENS = 16384  # in one forward pass


class PatchScore:
    """An `ExplainedScore` of an image whose tokens are its N patches, row by row.

    A patch with the id `HIDDEN` is grey; in the baseline, all are.
    """

    types = None
    position = None

    def __init__(
        self,
        model: PeftModel,
        pixels: npt.NDArray[np.float32],
        image: ImageInput,
        grid: PatchGrid,
        label: int,
    ) -> None:
        self.model = model
        self.ids = torch.full((1, grid.rows * grid.columns), SHOWN, device=model.device)
        self.baseline = [HIDDEN] * self.ids.shape[1]
        self._pixels = torch.from_numpy(pixels).to(model.device)[None]  # [1, 3, H, W]
        grey = [(GREY * image.scale - mean) / std for mean, std in zip(image.mean, image.std, strict=True)]
        self._grey = torch.tensor(grey, device=model.device)[None, :, None, None]
        self._grid = grid
        self._label = label
        self._rows = max(1, MAX_TOKENS // image.tokens)

    def __call__(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        """Return the scores [B] of rows [B, N]."""
        parts = (ids[start : start + self._rows] for start in range(0, len(ids), self._rows))
        return torch.cat([self.run(part, None).logits[:, self._label] for part in parts])

    def run(self, ids: Tensor, types: Tensor | None, **settings: Any) -> Any:
        return self.model(pixel_values=self._masked(ids), **settings)

    def value(self, ids: Tensor | None = None) -> float:
        with torch.no_grad():
            return float(self(self.ids if ids is None else ids)[0])

    def _masked(self, ids: Tensor) -> Tensor:
        """Return the images [B, 3, H, W] of rows [B, N]."""
        grid = self._grid
        shown = (ids != HIDDEN).view(-1, 1, grid.rows, grid.columns)
        shown = shown.repeat_interleave(grid.patch_height, 2).repeat_interleave(grid.patch_width, 3)
        rest = (0, grid.width - shown.shape[3], 0, grid.height - shown.shape[2])
        return torch.where(torch.nn.functional.pad(shown, rest, value=True), self._pixels, self._grey)


def grid_of(config: Any, image: ImageInput) -> PatchGrid:
    """Return the patches that a model with this config cuts an image into."""
    size = config.patch_size
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return PatchGrid(image.height // height, image.width // width, height, width, image.height, image.width)
