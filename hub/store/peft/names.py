"""Converts tensor names of other ways to save an adapter to the names that PEFT saves."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hub.errors import BadAdapter

__all__ = ["saved_names"]

# Added by torch.compile, FSDP and activation checkpointing; no model has modules of these names.
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# A state_dict has the adapter's name in its keys, which save_pretrained() removes.
_NAMED = re.compile(
    r"(?P<start>.+\.(?:lora_[ABE]|lora_embedding_[AB]|lora_magnitude_vector|ia3_l|hada_[wt][12](?:_[ab])?"
    r"|lokr_[wt][12](?:_[ab])?|oft_R|hra_u|vera_lambda_[bd]|fourierft_spectrum))"
    r"\.(?P<adapter>[^.]+)(?P<end>\.weight|\.bias)?"
)
_PARAMETERS = frozenset({"weight", "bias"})
_MODULE_COPY = re.compile(r"(?P<start>.+)\.modules_to_save\.(?:(?P<adapter>[^.]+)\.)?(?P<end>weight|bias)")
_MAGNITUDE = ".lora_magnitude_vector"


def saved_names(names: Iterable[str]) -> dict[str, str]:
    """Map each tensor name to the name that save_pretrained() gives it.

    Raises:
        BadAdapter: the names belong to several adapters, or two of them mean the same tensor.
    """
    bare = {name: _WRAPPERS.sub("", name) for name in names}
    adapters: set[str] = set()
    found = {name: _without_adapter(plain, adapters) for name, plain in bare.items()}
    known = set(found.values())
    for name, plain in found.items():
        # Beside a module's own name this is the copy that PEFT's bias="all" adds; alone it is the module.
        match = _MODULE_COPY.fullmatch(plain)
        if match and f"{match['start']}.{match['end']}" not in known:
            adapters |= {match["adapter"]} - {None}
            found[name] = f"{match['start']}.{match['end']}"
    if len(adapters) > 1:
        raise BadAdapter(
            f"The file holds several adapters: {', '.join(sorted(adapters)[:5])}. Save the one to serve "
            "alone: save_pretrained(folder, selected_adapters=[NAME])."
        )
    _check_distinct(found)
    return found


def _without_adapter(name: str, adapters: set[str]) -> str:
    """Remove the adapter's name from a tensor name, and add it to `adapters`."""
    match = _NAMED.fullmatch(name)
    if not match or match["adapter"] in _PARAMETERS:
        return name.removesuffix(".weight") if name.endswith(f"{_MAGNITUDE}.weight") else name
    adapters.add(match["adapter"])
    end = "" if match["start"].endswith(_MAGNITUDE) else match["end"] or ""
    return match["start"] + end


def _check_distinct(found: dict[str, str]) -> None:
    known: dict[str, str] = {}
    for name, plain in found.items():
        if plain in known:
            raise BadAdapter(f"{name!r} and {known[plain]!r} are the same tensor. Save the adapter again.")
        known[plain] = name
