"""The base class of all errors."""

from __future__ import annotations

from typing import ClassVar


class HubError(Exception):
    """Base class, with a stable code and the HTTP status."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the wire form: `{"error": {"code", "message"}}`."""
        return {"error": {"code": self.code, "message": str(self)}}
