"""The gate of `hub train --deploy`: a version that is worse than the live one stays in the store."""

from __future__ import annotations

from dataclasses import dataclass

from hub.store.records import Version

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a version may go live, and why."""

    passed: bool
    reason: str


def judge(new: Version, live: Version | None, max_drop: float) -> Judgement:
    """Compare the recorded metrics of two versions; `max_drop` is how far the new one may lie below.

    A first version passes, and so does one whose forerunner has no such metric on record.
    """
    if live is None:
        return Judgement(True, "nothing was live")
    metric = new.manifest.metric
    after, before = new.manifest.metrics[metric], live.manifest.metrics.get(metric)
    if before is None:
        return Judgement(True, f"{live.ref}, which was live, has no {metric} on record")
    compared = f"{metric} {after:.4f} against {before:.4f} of {live.ref}"
    if not _same_held_out(new, live):
        compared += ", measured on other data"
    return Judgement(after >= before - max_drop, compared)


def _same_held_out(new: Version, live: Version) -> bool:
    """Tell whether both were trained and measured on the very same rows, as far as is recorded."""
    ours, theirs = new.manifest.data, live.manifest.data
    return ours is not None and theirs is not None and ours.sha256 == theirs.sha256
