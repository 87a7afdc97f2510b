"""Errors of what a user brings: recipes, data, weights, bases, plugins, settings."""

from __future__ import annotations

from hub.errors.base import HubError


class BadRecipe(HubError):
    code = "bad_recipe"
    status = 422


class BadData(BadRecipe):
    code = "bad_data"


class BadAdapter(HubError):
    code = "bad_adapter"
    status = 422


class UnsafeWeights(BadAdapter):
    code = "unsafe_weights"


class UnsupportedAdapter(BadAdapter):
    code = "unsupported_adapter"


class BaseMismatch(BadAdapter):
    code = "base_mismatch"


class BadBase(HubError):
    code = "bad_base"
    status = 422


class BadPlugin(HubError):
    code = "bad_plugin"
    status = 422


class HashMismatch(BadPlugin):
    code = "hash_mismatch"


class BadConfig(HubError):
    code = "bad_config"
    status = 422


class MissingExtra(HubError):
    code = "missing_extra"
    status = 501

    @classmethod
    def of(cls, feature: str, extra: str) -> MissingExtra:
        """Build the message from the feature and the extra that provides it."""
        return cls(f"{feature} needs an optional package. Run: pip install 'grafthub[{extra}]'")
