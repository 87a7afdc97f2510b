"""Errors of a request: what it says, who sends it, and what it names."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from hub.errors.base import HubError

MAX_LISTED = 20  # names in a message
MAX_COMPARED = 200  # names; comparing one takes some 10 microseconds


def listed(names: Iterable[str], wanted: str = "") -> str:
    """Return names for a message, sorted; of more than MAX_LISTED the ones nearest to `wanted`."""
    found = sorted(names)
    if len(found) <= MAX_LISTED:
        return ", ".join(found)
    shown = _nearest(found, wanted) if wanted else found
    return f"{', '.join(shown[:MAX_LISTED])} and {len(found) - MAX_LISTED} more"


def _nearest(names: Sequence[str], wanted: str) -> Sequence[str]:
    """Return sorted names by their nearness to one; of many, those beside its place in the order."""
    first = max(0, bisect(names, wanted) - MAX_COMPARED // 2)
    matcher = SequenceMatcher(b=wanted)

    def nearness(name: str) -> float:
        matcher.set_seq1(name)
        return matcher.ratio()

    return sorted(names[first : first + MAX_COMPARED], key=nearness, reverse=True)


class BadRequest(HubError):
    """The request is not JSON, or a value is missing, unknown or of a wrong type."""

    code = "bad_request"
    status = 400


class InvalidName(BadRequest):
    """A name of an adapter, deployment, base or plugin, or a version, is not written as one."""

    code = "invalid_name"


class InvalidText(BadRequest):
    """A text is empty, not UTF-8, or has half a surrogate pair or a control token of the base."""

    code = "invalid_text"


class MethodNotAllowed(BadRequest):
    """The path exists, but not with this method.

    `allowed`: the methods of the path, for the header Allow.
    """

    code = "method_not_allowed"
    status = 405
    allowed: Sequence[str] = ()


class TooLarge(BadRequest):
    """A body, text, file, or number of items or rows is over a limit."""

    code = "too_large"
    status = 413


class BadMediaType(BadRequest):
    """The body is compressed, or not declared as JSON."""

    code = "bad_media_type"
    status = 415


class Misdirected(BadRequest):
    """The `Host` is no name of this server."""

    code = "misdirected"
    status = 421


class RequestTimeout(BadRequest):
    """Headers or body did not arrive within `limits.header_s` or `limits.body_s`."""

    code = "request_timeout"
    status = 408


class HeadersTooLarge(BadRequest):
    """Request line and headers are over `limits.header_bytes`, or more than `limits.headers`."""

    code = "headers_too_large"
    status = 431


class BadDimensions(BadRequest):
    """The request asks for more dimensions than the vectors of the deployment have.

    The one BadRequest of `Task.decode` that is the client's: only outputs have a number of dimensions.
    """

    code = "bad_dimensions"


class BadSampling(BadRequest):
    """This base cannot follow a sampling setting, such as a bias on a token that it lacks.

    The one BadRequest of an engine that is the client's: sampling settings come from the request.
    """

    code = "bad_sampling"


class AlreadyLoaded(BadRequest):
    """vLLM's route would replace a deployment without `load_inplace`.

    A Conflict with the status of vLLM.
    """

    code = "already_loaded"


class UnsupportedFormat(BadRequest):
    """The adapter cannot be exported in this format; the message names a format that it can."""

    code = "unsupported_format"


class Unauthorized(HubError):
    """There is no key in the request, or it is unknown, expired or revoked."""

    code = "unauthorized"
    status = 401


class Forbidden(HubError):
    """The key does not have the scope that this takes."""

    code = "forbidden"
    status = 403


class CrossOrigin(Forbidden):
    """The request comes from a web page of another site: its `Origin` is not permitted."""

    code = "cross_origin"


class PluginNotAllowed(Forbidden):
    """`plugins.policy` or another setting does not permit the plugin."""

    code = "plugin_not_allowed"


class NotFound(HubError):
    """No path, task, deployment, version, base or plugin has this name; the message lists the names."""

    code = "not_found"
    status = 404

    @classmethod
    def of(
        cls, kind: str, name: str, known: Iterable[str], hint: str = "", bases: Iterable[str] = ()
    ) -> NotFound:
        """Build the message from the kind of object, the unknown name and the existing names.

        `bases` can be asked like the objects.
        """
        names, others = listed(known, name), listed(bases, name)
        there = f"Available: {names}" if names else f"There is no {kind} yet"
        also = f" Bases: {others}." if others else ""
        return cls(f"No {kind} named {name!r}. {there}.{also}{' ' + hint if hint else ''}")


class VersionUnavailable(NotFound):
    """A pinned version is neither live nor resident; the message lists those that are."""

    code = "version_unavailable"


class Conflict(HubError):
    """It does not go with what is there, such as a version of another task for a deployment."""

    code = "conflict"
    status = 409


class AmbiguousDeployment(Conflict):
    """Several deployments could answer: name one."""

    code = "ambiguous_deployment"


class LibraryPinned(Conflict):
    """A plugin needs another version of a library that the hub runs on."""

    code = "library_pinned"


class PluginConflict(Conflict):
    """Two plugins provide something of the same name."""

    code = "plugin_conflict"


class ReloadRunning(Conflict):
    """A reload of plugins is going on; one runs at a time."""

    code = "reload_running"


class VersionsUnreadable(Conflict):
    """A new version of a plugin cannot read stored versions that the present one can; `--yes` goes on."""

    code = "versions_unreadable"


class DeploymentsLost(Conflict):
    """After a reload of plugins, live deployments would not be served; `--force` goes on."""

    code = "deployments_lost"
