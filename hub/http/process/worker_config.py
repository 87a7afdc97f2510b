"""The configuration that a worker receives from its supervisor: settings with secrets, socket, address."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from hub.config import Settings, restore_settings

__all__ = ["READY", "WorkerConfig"]

READY = b"ready\n"  # sent by a worker to its supervisor when it answers requests


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Sent as one line over a socket pair, since environments and command lines are readable by others."""

    settings: Settings
    address: str
    listener: int  # file descriptor of the listening socket
    supervisor: int  # process id
    index: int  # from 1

    def to_line(self) -> bytes:
        fields = {**asdict(self), "settings": self.settings.model_dump_json()}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> WorkerConfig:
        fields = json.loads(line)
        return cls(**{**fields, "settings": restore_settings(fields["settings"])})
