"""Convert a GGUF file to the safetensors folder that every other base has."""

from __future__ import annotations

from pathlib import Path

from hub.errors import BadBase

__all__ = ["convert"]


def convert(weights: Path, folder: Path) -> None:
    """Write config, tokenizer and bf16 safetensors weights of a GGUF causal model into `folder`.

    Raises:
        BadBase: transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    except (ValueError, OSError, KeyError) as error:
        raise BadBase(f"{weights.name} cannot be read as a GGUF model: {error}") from error
    # The loaded model counts as quantized and refuses to be saved; a plain one takes its weights.
    plain = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.bfloat16)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
