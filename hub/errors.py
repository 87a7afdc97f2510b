"""The exceptions of GraftHub.

    HubError
    ├── BadRequest            400  the request is invalid
    │   ├── InvalidName       400
    │   ├── InvalidText       400
    │   ├── MethodNotAllowed  405
    │   ├── RequestTimeout    408  headers or a body did not arrive in time
    │   ├── TooLarge          413
    │   ├── BadMediaType      415
    │   ├── Misdirected       421  addressed to another host name
    │   ├── HeadersTooLarge   431
    │   ├── BadSampling       400  this base cannot follow a sampling setting
    │   └── UnsupportedFormat 400  this adapter cannot be exported in this format
    ├── Unauthorized          401
    ├── Forbidden             403
    │   └── CrossOrigin       403  sent by a web page of another site
    ├── NotFound              404  the message lists the existing names
    │   └── VersionUnavailable 404 a pinned version is neither live nor resident
    ├── Conflict              409
    │   ├── AmbiguousDeployment
    │   └── PluginConflict
    ├── BadRecipe             422  a recipe or data file is invalid
    │   └── BadData
    ├── BadAdapter            422  weights are malformed or unsafe
    │   ├── UnsafeWeights
    │   ├── UnsupportedAdapter
    │   └── BaseMismatch
    ├── BadBase               422  a base is incomplete, altered or of an unknown kind
    ├── BadPlugin             422
    ├── BadConfig             422
    ├── MissingExtra          501  an optional dependency is missing
    ├── Overloaded            429
    ├── NotReady              503
    │   └── PluginSuspended   503  too many calls hang in the plugin's code
    ├── DeadlineExceeded      504  a request took longer than limits.timeout_s
    ├── NotServed             504  too few replicas serve a change in time
    ├── SourceUnavailable     502  a download failed
    ├── EngineFailed          500
    ├── PluginFailed          500  a plugin's code raised an exception or returned a wrong value
    │   └── PluginTimeout     504  a plugin's code ran longer than limits.plugin_timeout_s
    ├── ExportFailed          500  an exported model does not reproduce the adapter
    └── HostFault             507  the disk or the operating system failed

`code` is stable, so that clients can match on it. `str(error)` has the problem, its object and the remedy.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "MAX_FRAMES",
    "AmbiguousDeployment",
    "BadAdapter",
    "BadBase",
    "BadConfig",
    "BadData",
    "BadMediaType",
    "BadPlugin",
    "BadRecipe",
    "BadRequest",
    "BadSampling",
    "BaseMismatch",
    "Conflict",
    "CrossOrigin",
    "DeadlineExceeded",
    "EngineFailed",
    "ExportFailed",
    "Forbidden",
    "HeadersTooLarge",
    "HostFault",
    "HubError",
    "InvalidName",
    "InvalidText",
    "MethodNotAllowed",
    "Misdirected",
    "MissingExtra",
    "NotFound",
    "NotReady",
    "NotServed",
    "Overloaded",
    "PluginConflict",
    "PluginFailed",
    "PluginSuspended",
    "PluginTimeout",
    "RequestTimeout",
    "SourceUnavailable",
    "TooLarge",
    "Unauthorized",
    "UnsafeWeights",
    "UnsupportedAdapter",
    "UnsupportedFormat",
    "VersionUnavailable",
    "first_problem",
    "log_fault",
]


class HubError(Exception):
    """Base class, with a stable code and the HTTP status."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the wire form: `{"error": {"code", "message"}}`."""
        return {"error": {"code": self.code, "message": str(self)}}


class BadRequest(HubError):
    code = "bad_request"
    status = 400


class InvalidName(BadRequest):
    code = "invalid_name"


class InvalidText(BadRequest):
    code = "invalid_text"


class MethodNotAllowed(BadRequest):
    """`allowed`: the methods of the path, for the header Allow."""

    code = "method_not_allowed"
    status = 405
    allowed: Sequence[str] = ()


class TooLarge(BadRequest):
    code = "too_large"
    status = 413


class BadMediaType(BadRequest):
    code = "bad_media_type"
    status = 415


class Misdirected(BadRequest):
    code = "misdirected"
    status = 421


class RequestTimeout(BadRequest):
    code = "request_timeout"
    status = 408


class HeadersTooLarge(BadRequest):
    code = "headers_too_large"
    status = 431


class BadSampling(BadRequest):
    """The one BadRequest of an engine that is the client's: sampling settings come from the request."""

    code = "bad_sampling"


class UnsupportedFormat(BadRequest):
    code = "unsupported_format"


class Unauthorized(HubError):
    code = "unauthorized"
    status = 401


class Forbidden(HubError):
    code = "forbidden"
    status = 403


class CrossOrigin(Forbidden):
    code = "cross_origin"


class NotFound(HubError):
    """An unknown name; the message lists the existing ones."""

    code = "not_found"
    status = 404

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> NotFound:
        """Build the message from the kind of object, the unknown name and the existing names."""
        names = sorted(known)
        listed = f"Available: {', '.join(names[:20])}" if names else f"There is no {kind} yet"
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return cls(f"No {kind} named {name!r}. {listed}{more}.{' ' + hint if hint else ''}")


class VersionUnavailable(NotFound):
    """A pinned version is neither live nor resident; the message lists those that are."""

    code = "version_unavailable"


class Conflict(HubError):
    code = "conflict"
    status = 409


class AmbiguousDeployment(Conflict):
    code = "ambiguous_deployment"


class PluginConflict(Conflict):
    code = "plugin_conflict"


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


class Overloaded(HubError):
    code = "overloaded"
    status = 429


class NotReady(HubError):
    code = "not_ready"
    status = 503


class PluginSuspended(NotReady):
    code = "plugin_suspended"


class DeadlineExceeded(HubError):
    code = "deadline_exceeded"
    status = 504


class NotServed(HubError):
    code = "not_served"
    status = 504


class SourceUnavailable(HubError):
    code = "source_unavailable"
    status = 502


class EngineFailed(HubError):
    code = "engine_failed"
    status = 500


class PluginFailed(HubError):
    code = "plugin_failed"
    status = 500


class PluginTimeout(PluginFailed):
    code = "plugin_timeout"
    status = 504


class ExportFailed(HubError):
    code = "export_failed"
    status = 500


class HostFault(HubError):
    code = "host_fault"
    status = 507

    @classmethod
    def of(cls, error: OSError) -> HostFault:
        """Build the message from the operating system's error and the file."""
        where = f" ({error.filename})" if error.filename else ""
        what = f"{error.strerror or error}{where}"
        return cls(f"{what}. Check permissions and free space; state is in the folder HUB_HOME.")


def first_problem(error: ValidationError, whole: str = "value") -> tuple[str, str]:
    """Return the dotted key and the message of the first problem, without the invalid value.

    The key is `whole` if the value as a whole is invalid.
    """
    first = error.errors(include_input=False, include_url=False)[0]
    return ".".join(map(str, first["loc"])) or whole, first["msg"].removeprefix("Value error, ")


MAX_FRAMES = 4  # in a log line


def log_fault(log: logging.Logger, what: str, error: BaseException, detail: str = "") -> None:
    """Log the type and the innermost frames of `error`, without its message, which may quote user text.

    `detail` is a message that is known to contain no user text.
    """
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s: %s%s at %s", what, type(error).__name__, f" ({detail})" if detail else "", where)
