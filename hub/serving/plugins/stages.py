"""The stages of work in plugin code, and our code between them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from hub.errors import HubError, log_fault

__all__ = ["Stage", "Work", "advance", "fail"]

log = logging.getLogger(__name__)


class Stage(NamedTuple):
    """One call of plugin code; `optional`: no caller waits for its result.

    `prepare` is called first, in the same thread; it is our code and does not count against the time limit.
    `slow` is called once, from another thread, if `run` takes longer than threads.SLOW_S.
    """

    name: str
    run: Callable[[], Any]
    optional: bool = False
    prepare: Callable[[], None] | None = None
    slow: Callable[[], None] | None = None


Work = Generator[Stage, Any, None]
"""Our code around plugin code: yields each stage and receives its result.

A PluginTimeout, PluginSuspended or NotReady is thrown in if a stage has no result. Only stages may block.
"""


def fail(work: Work, error: HubError) -> None:
    """Throw `error` into `work` at every remaining stage."""
    while advance(work, error) is not None:
        pass


def advance(work: Work, error: Exception | None = None, result: object = None) -> Stage | None:
    """Run our code up to the next stage; None at the end."""
    try:
        return work.throw(error) if error is not None else work.send(result)
    except StopIteration:
        return None
    except Exception as fault:
        log_fault(log, "A call could not be finished", fault)
        return None
