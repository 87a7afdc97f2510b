"""How other exceptions are reported without the values that users sent."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_FRAMES = 4  # in a log line


def first_problem(error: ValidationError, whole: str = "value") -> tuple[str, str]:
    """Return the dotted key and the message of the first problem, without the invalid value.

    The key is `whole` if the value as a whole is invalid.
    """
    first = error.errors(include_input=False, include_url=False)[0]
    return ".".join(map(str, first["loc"])) or whole, first["msg"].removeprefix("Value error, ")


def log_fault(log: logging.Logger, what: str, error: BaseException, detail: str = "") -> None:
    """Log the type and the innermost frames of `error`, without its message, which may quote user text.

    `detail` is a message that is known to contain no user text.
    """
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s: %s%s at %s", what, type(error).__name__, f" ({detail})" if detail else "", where)
