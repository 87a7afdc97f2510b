"""Converts a GGUF file to a folder with safetensors weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hub.config import child_environment
from hub.errors import BadBase

__all__ = ["convert"]


def convert(weights: Path, folder: Path) -> None:
    """Write config, tokenizer and bf16 safetensors weights of a GGUF causal model into `folder`.

    Runs in a subprocess, so that the memory of torch and the model is freed.

    Raises:
        BadBase: transformers cannot read the file.
    """
    command = [sys.executable, "-m", "hub.bases.gguf", str(weights), str(folder)]
    quiet = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    environment = {**child_environment(), **quiet}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise BadBase(f"{weights.name} could not be converted to safetensors: {reason}")


def _convert(weights: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        weights.parent,
        gguf_file=weights.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    # transformers 5.23 refuses to save a model that was loaded quantized, and its weights are plain ones now.
    loaded.hf_quantizer = None
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    loaded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
