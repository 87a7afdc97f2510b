"""Errors of the server and what it depends on: load, time, engines, plugins, the host."""

from __future__ import annotations

from hub.errors.base import HubError


class Overloaded(HubError):
    code = "overloaded"
    status = 429
    retry_after_s: int = 1


class RateLimited(Overloaded):
    """A limit of the caller's key is reached."""

    code = "rate_limited"


class NotReady(HubError):
    code = "not_ready"
    status = 503


class PluginSuspended(NotReady):
    code = "plugin_suspended"


class DeadlineExceeded(HubError):
    """`by_client`: the client set the deadline, so it says nothing about the version."""

    by_client = False
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


class PluginMemory(PluginFailed):
    code = "plugin_memory"


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
