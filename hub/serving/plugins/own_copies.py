"""What plugin code is given that others read too: copies, so that a change of it reaches nobody else."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType

from pydantic import BaseModel

from hub.api import AdapterInfo

__all__ = ["own_info", "own_request"]

_IMMUTABLE = (str, int, float, bool, bytes, type(None))


def own_request(request: BaseModel) -> BaseModel:
    """Return the request itself if it cannot be changed, else a copy; its fields may raise anything."""
    frozen = type(request).model_config.get("frozen") and not request.model_extra
    if frozen and all(isinstance(value, _IMMUTABLE) for value in vars(request).values()):
        return request
    return deepcopy(request)


def own_info(info: AdapterInfo) -> AdapterInfo:
    """Return the facts of an adapter with settings that can be changed without an effect on other calls."""
    if all(isinstance(value, _IMMUTABLE) for value in info.settings.values()):
        return info
    return replace(info, settings=MappingProxyType(deepcopy(dict(info.settings))))
