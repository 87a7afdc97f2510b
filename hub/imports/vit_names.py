"""Gives adapters of ViTs that transformers 4 named the names of transformers 5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.bases.base import BaseKind
from hub.bases.inspect import module_name, module_names
from hub.errors import BadAdapter

if TYPE_CHECKING:
    from hub.bases.base import Base
    from hub.store.content.weights import AdapterFiles

__all__ = ["with_current_names"]

_LISTS = ("target_modules", "feedforward_modules", "modules_to_save")
_NUMBERS = ("rank_pattern", "alpha_pattern", "n_frequency_pattern")


def with_current_names(files: AdapterFiles, base: Base) -> AdapterFiles:
    """Return an adapter on a base that reads images, with the names of its modules in transformers 5.

    An adapter that has them, or is of texts, is returned itself. PEFT converts only some tensors of LoRA, and
    no names in the config; those are replaced by the modules that they match.

    Raises:
        BadAdapter, UnsupportedAdapter: the patterns in the config cannot be read, or a tensor has both names.
    """
    if base.kind is not BaseKind.VISION:
        return files
    names = module_names(files.tensors, base.model_type, BadAdapter)
    if all(name == current for name, current in names.items()):
        return files
    from hub.engine.peft.patterns import explicit_config
    from hub.store.content.weights import AdapterFiles

    config = explicit_config(files.config, files.tensors)  # by the names that it was written for
    for key in _LISTS:
        if isinstance(config.get(key), list):
            config[key] = [module_name(one, base.model_type) for one in config[key]]
    for key in _NUMBERS:
        if config.get(key):
            config[key] = _renamed_patterns(config[key], base.model_type)
    return AdapterFiles(config, {names[name]: tensor for name, tensor in files.tensors.items()})


def _renamed_patterns(special: dict[str, Any], model_type: str) -> dict[str, Any]:
    """Rename modules in the keys, `^` and an escaped path, in which a dot is `\\.`."""
    return {
        "^" + module_name(key[1:].replace("\\.", "."), model_type).replace(".", "\\."): value
        for key, value in special.items()
    }
