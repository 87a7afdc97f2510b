"""The last stage of a call: its outputs are decoded in a thread of its task, and its caller is woken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from hub.errors import HubError
from hub.serving.batching.fair_queue import Job
from hub.serving.plugins.stages import Stage, Work
from hub.serving.plugins.threads import TaskThreads
from hub.serving.requests.answer_parts import AnswerParts
from hub.serving.requests.beside import BesideRuns
from hub.serving.requests.call import Call, Side
from hub.serving.requests.call_answers import answers_of
from hub.serving.requests.codec import Answered, fault

__all__ = ["DecodeStage"]

Item = TypeVar("Item")


class DecodeStage:
    """Decodes the calls of all tasks; `notify` calls on the event loop."""

    def __init__(self, beside: BesideRuns, notify: Callable[..., None]) -> None:
        self._beside = beside
        self._notify = notify

    def forwarded(self, jobs: Sequence[Job]) -> None:
        """Receive the finished jobs of a forward, in the thread of the batcher."""
        sides: dict[TaskThreads, list[Side]] = {}
        for job in jobs:
            if isinstance(job.waiter, Side):
                side = job.waiter
                side.job = job  # the submitting thread may not have stored it yet
                threads = side.call.threads
                if isinstance(job.listener, AnswerParts):
                    job.listener.finish(self.work(threads, deque([side])))
                else:
                    sides.setdefault(threads, []).append(side)
        for threads, of_task in sides.items():
            threads.submit(self.work(threads, deque(of_task)))

    def work(self, threads: TaskThreads, pending: deque[Side]) -> Work:
        """Decode the calls of one task and answer each as soon as it is decoded; then compare.

        If one takes long, another thread continues with the `pending` ones.
        """
        taken: list[Side] = []
        while side := _pop(pending):
            taken.append(side)
            call = side.call
            if side is call.main:
                if call.answers is None and not call.cancelled:
                    yield from self._answer(call, partial(self._continue_elsewhere, threads, pending))
                self._notify(call.wake)
        for side in taken:
            if beside := side.call.beside:
                yield from self._beside.join(side, beside)

    def _continue_elsewhere(self, threads: TaskThreads, pending: deque[Side]) -> None:
        """Decode the other calls in another thread."""
        if pending:
            threads.submit(self.work(threads, pending))

    def _answer(self, call: Call, on_slow: Callable[[], None]) -> Work:
        threads = call.threads
        if threads.suspended and not call.trial:
            call.answers = threads.refusal()
            return
        try:
            answered: list[Answered] = yield Stage("decode", call.main.items, slow=on_slow)
        except HubError as error:
            call.answers = error
        except Exception as error:
            call.answers = fault(call.task, threads.faults, "decode", error)
        else:
            answers = call.answers = answers_of(answered, call.main.job)
            if answers.usage:
                call.account.generated(answers.usage.completion_tokens)


def _pop(queue: deque[Item]) -> Item | None:
    """Remove and return the first item; thread-safe."""
    try:
        return queue.popleft()
    except IndexError:
        return None
