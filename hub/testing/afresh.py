"""A task as another process has it, and the clock of another day: what an answer must not depend on."""

from __future__ import annotations

import datetime
import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hub.registry.loaded import LoadedTask

__all__ = ["another_day", "task_afresh"]

SHIFT_S = 100_003.0  # more than a day; another second, minute and hour


def task_afresh(loaded: LoadedTask) -> LoadedTask:
    """Return the task of a module that was imported again, which shares no state with the one in use."""
    used = type(loaded.task)
    factory: Any = used
    spec = importlib.util.find_spec(used.__module__) if used.__module__ != "__main__" else None
    if "<locals>" not in used.__qualname__ and spec and spec.loader:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        factory = module
        for name in used.__qualname__.split("."):
            factory = getattr(factory, name)
    task = factory()
    task.plugin_settings = loaded.task.plugin_settings
    return replace(loaded, task=task)


class _Tomorrow(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=SHIFT_S)

    @classmethod
    def utcnow(cls) -> Any:
        return datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=SHIFT_S)

    @classmethod
    def today(cls) -> Any:
        return cls.now()


class _TomorrowDate(datetime.date):
    @classmethod
    def today(cls) -> Any:
        return _Tomorrow.now().date()


class _DatetimeModule:
    """The module `datetime` with the clock of another day."""

    datetime = _Tomorrow
    date = _TomorrowDate

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


def _later(real: Callable[..., float], unit: float = 1.0) -> Callable[..., Any]:
    shift = type(real())(SHIFT_S * unit)
    return lambda: real() + shift


@contextmanager
def another_day(loaded: LoadedTask) -> Iterator[None]:
    """Let the modules of a task's package read another time, and other random numbers."""
    package = type(loaded.task).__module__.partition(".")[0]
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == package and module is not None
    ]
    clocks: dict[Any, Any] = {
        time.time: _later(time.time),
        time.monotonic: _later(time.monotonic),
        time.perf_counter: _later(time.perf_counter),
        time.time_ns: _later(time.time_ns, 1e9),
        datetime.datetime: _Tomorrow,
        datetime.date: _TomorrowDate,
        datetime: _DatetimeModule(),
    }
    state, numpy_state = random.getstate(), np.random.get_state()
    with pytest.MonkeyPatch.context() as patch:
        for real, shifted in clocks.items():
            if getattr(real, "__module__", None) == "time":
                patch.setattr(time, real.__name__, shifted)
        for module in modules:
            for name, value in list(vars(module).items()):
                if any(value is real for real in clocks):
                    patch.setattr(module, name, clocks[value])
        random.seed(SHIFT_S)
        np.random.seed(int(SHIFT_S))
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)
