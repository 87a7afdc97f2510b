"""The gate of `hub train --deploy`: a version that is worse than the live one is not deployed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from hub.evaluation.comparison import Comparison
from hub.evaluation.goal import explain
from hub.progress import Progress, named, silent
from hub.recipe.sections.evaluate import DeployGate
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.registry.host import Registry
    from hub.store.store import Store
    from hub.training.train import TrainResult

__all__ = ["GateDecision", "decide", "pass_gate"]

MIN_SIGNIFICANCE_ROWS = 200  # held-out rows; with fewer, a relevant drop would not be significant


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether a version may go live, the reason, and the comparison with the live one if it was run."""

    passed: bool
    reason: str
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        compared = {"comparison": self.comparison.to_json()} if self.comparison else {}
        return {"passed": self.passed, "reason": self.reason, **compared}


def pass_gate(
    result: TrainResult,
    live: Version | None,
    *,
    registry: Registry,
    store: Store,
    progress: Progress = silent,
) -> GateDecision:
    """Compare a new version with the live one on the same held-out rows, and decide on deployment."""
    recipe = result.plan.recipe
    comparison, why_not = None, ""
    if live is not None and live.sha256 != result.version.sha256 and recipe.deploy.paired:
        if why_not := _incomparable(result.version, live):
            return decide(result.version, live, recipe.deploy, why_not=why_not)
        from hub.evaluation.stored.measure import answers_of, compared

        items, shown = result.measured.evaluator.items, named(progress, str(live.ref))
        try:
            theirs, _ = answers_of(live, items, registry=registry, store=store, progress=shown)
            comparison = compared(result.measured, theirs, recipe.train.seed)
        except HubError as error:
            why_not = str(error).rstrip(".")
    return decide(result.version, live, recipe.deploy, comparison, why_not)


def decide(
    new: Version,
    live: Version | None,
    rule: DeployGate,
    comparison: Comparison | None = None,
    why_not: str = "",
) -> GateDecision:
    """Compare a version with the live one: on the same rows, or else by their recorded metrics.

    It passes if its metric is worse by at most `max_drop` or, on 200 or more of the same rows, not
    significantly worse (one-sided p of .05 or above). It also passes if nothing is live, or if the live
    version has no such metric on record. `why_not` is the reason why there is no comparison.
    """
    if live is None:
        return GateDecision(True, "nothing was live")
    if comparison is not None:
        return _by_rows(live, rule, comparison)
    metric = new.manifest.metric
    after, before = new.manifest.metrics[metric], live.manifest.metrics.get(metric)
    unrun = f"; {live.ref} was not run on the same rows: {why_not}" if why_not else ""
    if before is None:
        return GateDecision(True, f"{live.ref}, which was live, has no {metric} on record{unrun}")
    goal = new.manifest.metric_goal
    figures = f"{metric} {after:.4f} against {before:.4f} of {live.ref}{explain(goal)}"
    if not _same_held_out(new, live):
        figures += ", measured on other data"
    allowed = after >= before - rule.max_drop if goal == "max" else after <= before + rule.max_drop
    return GateDecision(allowed, figures + unrun)


def _by_rows(live: Version, rule: DeployGate, found: Comparison) -> GateDecision:
    figures = (
        f"{found.metric} {found.first:.4f} against {found.second:.4f} of {live.ref} on the same "
        f"{found.rows:,} held-out rows{explain(found.goal)}"
    )
    drop, change = -found.gain, "drop" if found.goal == "max" else "rise"
    if drop <= 0:
        better = f", significantly better ({found.chance()})" if found.is_better else ""
        return GateDecision(True, figures + better, found)
    if drop <= rule.max_drop:
        return GateDecision(True, f"{figures}, a {change} that deploy.max_drop allows", found)
    if found.rows < MIN_SIGNIFICANCE_ROWS:
        few = f", a {change}; fewer than {MIN_SIGNIFICANCE_ROWS} rows are too few for a test of significance"
        return GateDecision(False, figures + few, found)
    kind = "significant" if found.is_worse else "not significant"
    return GateDecision(not found.is_worse, f"{figures}, a {change} that is {kind} ({found.chance()})", found)


def _incomparable(new: Version, live: Version) -> str:
    ours, theirs = new.manifest.serving, live.manifest.serving
    if ours.task != theirs.task:
        return f"its task is {theirs.task}"
    return "" if {*ours.labels} == {*theirs.labels} else "it has other labels"


def _same_held_out(new: Version, live: Version) -> bool:
    """Return whether both were trained and evaluated on the same rows, according to their manifests."""
    ours, theirs = new.manifest.data, live.manifest.data
    return ours is not None and theirs is not None and ours.sha256 == theirs.sha256
