"""Errors of a request: what it says, who sends it, and what it names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hub.errors.base import HubError


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


class BadDimensions(BadRequest):
    """The one BadRequest of `Task.decode` that is the client's: only outputs have a number of dimensions."""

    code = "bad_dimensions"


class BadSampling(BadRequest):
    """The one BadRequest of an engine that is the client's: sampling settings come from the request."""

    code = "bad_sampling"


class AlreadyLoaded(BadRequest):
    """A Conflict with the status of vLLM."""

    code = "already_loaded"


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
