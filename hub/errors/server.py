"""Errors of the server and what it depends on: load, time, engines, plugins, the host."""

from __future__ import annotations

import errno

from hub.errors.base import HubError


class Overloaded(HubError):
    """Too many rows wait, or no slot comes free in time; the header `retry-after` says when to come again."""

    code = "overloaded"
    status = 429
    retry_after_s: int = 1


class RateLimited(Overloaded):
    """A limit of the caller's key is reached; the header `retry-after` says when to come again."""

    code = "rate_limited"


class NotReady(HubError):
    """The server is still loading or stops, or this deployment's version cannot be loaded."""

    code = "not_ready"
    status = 503


class PluginSuspended(NotReady):
    """Too many calls hang in the code of the task's plugin, or took too much memory."""

    code = "plugin_suspended"


class RequiredPluginFailed(NotReady):
    """A plugin of `plugins.required` cannot be used."""

    code = "required_plugin_failed"


class DeadlineExceeded(HubError):
    """There was no answer within `limits.timeout_s`, or within the time that the client waits.

    `by_client`: the client set the deadline, so it says nothing about the version.
    """

    by_client = False
    code = "deadline_exceeded"
    status = 504


class NotServed(HubError):
    """Too few replicas served the change in time; it is made, and they go on."""

    code = "not_served"
    status = 504


class SourceUnavailable(HubError):
    """A download failed, or a store or another source cannot be reached."""

    code = "source_unavailable"
    status = 502


class ClusterUnavailable(HubError):
    """No Ray cluster answers at the address, Ray could not be started, or its workers were lost."""

    code = "cluster_unavailable"
    status = 503


class EngineFailed(HubError):
    """The request was fine, and the engine failed; the server's log says where."""

    code = "engine_failed"
    status = 500


class PluginFailed(HubError):
    """The code of a plugin raised an exception or returned a wrong value; the log says where."""

    code = "plugin_failed"
    status = 500


class PluginTimeout(PluginFailed):
    """The code of a plugin ran longer than `limits.plugin_timeout_s`."""

    code = "plugin_timeout"
    status = 504


class PluginMemory(PluginFailed):
    """The code of a plugin took more memory than `limits.plugin_memory_mb`, or returned too much."""

    code = "plugin_memory"


class ReloadFailed(HubError):
    """A new worker did not become ready, and the previous one goes on; the log says more."""

    code = "reload_failed"
    status = 500


class ReloadTimeout(ReloadFailed):
    """A new worker was not ready within `serve.reload_timeout_s`, and the previous one goes on."""

    code = "reload_timeout"
    status = 504


class ExportFailed(HubError):
    """An exported model does not reproduce the adapter; nothing was written."""

    code = "export_failed"
    status = 500


class HostFault(HubError):
    """The disk or the operating system failed: no space, no permission."""

    code = "host_fault"
    status = 507

    @classmethod
    def of(cls, error: OSError) -> HostFault:
        """Build the message from the operating system's error and the file."""
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        name = (error.filename2 if is_full else None) or error.filename  # of a copy, the second is written
        where = f" ({name})" if name else ""
        what = f"{error.strerror or error}{where}"
        return cls(f"{what}. Check permissions and free space; state is in the folder HUB_HOME.")
