"""Errors of what a user brings: recipes, data, weights, bases, plugins, settings."""

from __future__ import annotations

from hub.errors.base import HubError


class BadRecipe(HubError):
    """A recipe has an unknown key or a value that is wrong, or does not go with its task."""

    code = "bad_recipe"
    status = 422


class BadData(BadRecipe):
    """A data file is unreadable, or has too many invalid rows."""

    code = "bad_data"


class BadAdapter(HubError):
    """The files of an adapter are incomplete, damaged or not what its manifest says."""

    code = "bad_adapter"
    status = 422


class UnsafeWeights(BadAdapter):
    """Weights are not safetensors, or a file could run code."""

    code = "unsafe_weights"


class UnsupportedAdapter(BadAdapter):
    """An adapter changes its base in a way that cannot be served in a slot; the message says how it can."""

    code = "unsupported_adapter"


class BaseMismatch(BadAdapter):
    """An adapter was made for another base, or for other weights or another tokenizer of it."""

    code = "base_mismatch"


class BadBase(HubError):
    """A base is incomplete, altered or of an unknown kind."""

    code = "bad_base"
    status = 422


class BadPlugin(HubError):
    """A plugin cannot be built or imported, or does not do what the hub relies on."""

    code = "bad_plugin"
    status = 422


class HashMismatch(BadPlugin):
    """A file is not the one that `plugins.lock` or `plugins.allow` records."""

    code = "hash_mismatch"


class BadConfig(HubError):
    """A setting in `hub.toml`, a `HUB_*` variable or a flag is unknown or invalid."""

    code = "bad_config"
    status = 422


class MissingExtra(HubError):
    """An optional package is missing; the message has the command that installs it."""

    code = "missing_extra"
    status = 501

    @classmethod
    def of(cls, feature: str, extra: str) -> MissingExtra:
        """Build the message from the feature and the extra that provides it."""
        return cls(f"{feature} needs an optional package. Run: pip install 'grafthub[{extra}]'")
