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


class PluginNotAllowed(Forbidden):
    code = "plugin_not_allowed"


class NotFound(HubError):
    """An unknown name; the message lists the existing ones."""

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
    code = "conflict"
    status = 409


class AmbiguousDeployment(Conflict):
    code = "ambiguous_deployment"


class LibraryPinned(Conflict):
    code = "library_pinned"


class PluginConflict(Conflict):
    code = "plugin_conflict"


class ReloadRunning(Conflict):
    code = "reload_running"


class VersionsUnreadable(Conflict):
    code = "versions_unreadable"


class DeploymentsLost(Conflict):
    code = "deployments_lost"
