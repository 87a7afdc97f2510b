"""The base class of all errors."""

from __future__ import annotations

from typing import ClassVar


class HubError(Exception):
    """A fault of the hub itself; the log says where. It is also the base class of all errors.

    `field`: the path of the wrong value in a body, "items.0.text", if it is one value.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    field: str = ""

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the wire form: `{"error": {"code", "message"}}`, with `field` if it is known."""
        found = {"field": self.field} if self.field else {}
        return {"error": {"code": self.code, "message": str(self), **found}}
