"""Score a translation adapter and its bare base on the held-out rows of the adapter's recipe.

    python -m benchmarks.translations [--adapter FOLDER]

FOLDER holds recipe.yaml and the adapter, and is adapters/ui-strings-en-fr by default. Besides the task's
metrics: the share of the sources' placeholders, such as %(name)s, %d and {0}, that their translations have,
and the same of the translations by people, who may write a number as a word.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import report

__all__ = ["placeholders_kept"]

FOLDER = Path("adapters", "ui-strings-en-fr")
_PLACEHOLDER = re.compile(r"%\(\w+\)[#0 +-]*[\d.*]*[a-z]|%[sdif]\b|\{\w*\}")


def placeholders_kept(sources: Sequence[str], targets: Sequence[str]) -> float:
    """Return the share of the sources' placeholders that their targets have; 1 if there is none."""
    wanted, kept = 0, 0
    for source, target in zip(sources, targets, strict=True):
        places = Counter(_PLACEHOLDER.findall(source))
        wanted += places.total()
        kept += (places & Counter(_PLACEHOLDER.findall(target))).total()
    return kept / wanted if wanted else 1.0


def main() -> None:
    """Score both and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapter", type=Path, default=FOLDER, help="Folder of the adapter.")
    folder = parser.parse_args().adapter

    from hub.bases.cache import Bases
    from hub.config import find_home
    from hub.data.dataset import InvalidRows
    from hub.engine.peft.model import load_adapted
    from hub.engine.tokenizer import load_tokenizer
    from hub.recipe.recipe import load_recipe
    from hub.registry.host import Registry
    from hub.training.fit.model import load_base
    from hub.training.plan import make_plan
    from hub.training.run import evaluator_of

    recipe, home = load_recipe(folder), find_home()
    invalid = InvalidRows(recipe)
    plan = make_plan(
        recipe, registry=Registry.load(), bases=Bases(home), cache=home / "packages", invalid=invalid
    )
    evaluator = evaluator_of(plan, load_tokenizer(plan.base), plan.dataset.held_out, invalid)
    assert evaluator is not None, "the recipe has no held-out rows"
    sources = [str(example["source"]) for example in evaluator.references]
    figures, rows = {}, []
    for way in ("base", "adapter"):
        model = (
            load_base(plan.base, plan.head, 0)
            if way == "base"
            else load_adapted(folder, plan.base, plan.head, 0, "cpu")
        )
        scored = evaluator.run(model)
        translations = [answer.translation for answer in scored.predictions]
        found = {
            "chrf": scored.metrics["chrf"],
            "bleu": scored.metrics["bleu"],
            "placeholders": placeholders_kept(sources, translations),
        }
        figures |= {f"{way}_{name}": value for name, value in found.items()}
        rows.append((way, *(f"{value:.4f}" for value in found.values())))
    people = placeholders_kept(sources, [str(example["target"]) for example in evaluator.references])
    rows.append(("people", "", "", f"{people:.4f}"))
    report("translations", ("WAY", "CHRF", "BLEU", "PLACEHOLDERS KEPT"), rows, figures, {})


if __name__ == "__main__":
    main()
