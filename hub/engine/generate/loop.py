# ruff: noqa: TID253 - imported by the torch engine only
"""The thread that runs the decoding steps of one engine while it has generating rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from hub.engine.generate.decoding import Decoding
from hub.engine.generate.rows import GeneratingRow
from hub.engine.torch.backbone import TorchBackbone
from hub.errors import EngineFailed, HubError, NotReady

__all__ = ["GenerationLoop"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopState:
    """Texts in progress after a step, and the allocated share of the memory limit."""

    running: int = 0
    waiting: int = 0
    memory: float = 0.0


class GenerationLoop:
    """Runs generating rows; the rows of one model share steps, and models take turns step by step.

    The base is one model, and each merged adapter another. The thread starts with the first row.
    """

    def __init__(self, open_model: Callable[[TorchBackbone], Decoding], name: str) -> None:
        self._open_model = open_model
        self._name = name
        self._inbox: list[tuple[TorchBackbone, GeneratingRow]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.state = LoopState()

    def submit(self, backbone: TorchBackbone, row: GeneratingRow) -> None:
        """Start a row; returns at once.

        Raises:
            NotReady: the loop is closed.
        """
        with self._changed:
            if self._closed:
                raise _gone()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"generate-{self._name}", daemon=True)
                thread.start()  # raises where the system allows no more; the next row tries again
                self._thread = thread
            self._inbox.append((backbone, row))
            self._changed.notify()

    def close(self) -> None:
        """End all rows with NotReady, and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        models: dict[TorchBackbone, Decoding] = {}
        with torch.inference_mode():
            while self._receive(models):
                for backbone, decoding in list(models.items()):
                    _step(decoding)
                    if not len(decoding):
                        del models[backbone]
                self.state = _state(models.values())
        for decoding in models.values():
            decoding.fail(_gone())
        for _, row in self._inbox:
            row.end(_gone())

    def _receive(self, models: dict[TorchBackbone, Decoding]) -> bool:
        """Add the submitted rows; without any row, wait for one. False once the loop is closed."""
        with self._changed:
            while not (self._inbox or models or self._closed):
                self._changed.wait()
            if self._closed:
                return False
            arrived, self._inbox = self._inbox, []
        for backbone, row in arrived:
            try:
                if backbone not in models:
                    models[backbone] = self._open_model(backbone)
                models[backbone].add(row)
            except Exception as error:
                row.end(_as_hub_error(error))
        return True


def _state(models: Collection[Decoding]) -> LoopState:
    return LoopState(
        sum(decoding.running for decoding in models),
        sum(decoding.waiting for decoding in models),
        sum(decoding.memory for decoding in models),
    )


def _step(decoding: Decoding) -> None:
    try:
        decoding.step()
    except Exception as error:  # `Decoding` handles those of a forward
        log.exception("A step of generation failed.")
        decoding.fail(_as_hub_error(error))


def _as_hub_error(error: Exception) -> HubError:
    return (
        error if isinstance(error, HubError) else EngineFailed(f"The engine failed ({type(error).__name__}).")
    )


def _gone() -> NotReady:
    return NotReady("The server is shutting down. Send the request again.")
