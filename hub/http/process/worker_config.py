"""The configuration that a worker receives from its supervisor: settings with secrets, socket, address."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from hub.config import Settings, restore_settings

__all__ = ["READY", "Handover", "WorkerConfig"]

READY = b"ready\n"  # sent by a worker to its supervisor when it answers requests


@dataclass(frozen=True, slots=True)
class Handover:
    """What the worker that asked for a reload could not serve itself, and what its caller accepts.

    `broken` are deployments; `unreadable` are versions. With `accept`, further versions may become
    unreadable; with `force`, also live deployments may be lost.
    """

    broken: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    accept: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Sent as one line over a socket pair, since environments and command lines are readable by others.

    With `handover`, another worker serves and is replaced by this one once it is ready.
    """

    settings: Settings
    address: str
    listener: int  # file descriptor of the listening socket
    supervisor: int  # process id
    index: int  # from 1
    handover: Handover | None = None

    def to_line(self) -> bytes:
        fields = {**asdict(self), "settings": self.settings.model_dump_json()}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> WorkerConfig:
        fields = json.loads(line)
        fields["settings"] = restore_settings(fields["settings"])
        if given := fields.get("handover"):
            names = {key: tuple(given[key]) for key in ("broken", "unreadable")}
            fields["handover"] = Handover(**{**given, **names})
        return cls(**fields)
