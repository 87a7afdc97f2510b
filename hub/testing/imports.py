"""Which heavy libraries a task imports where it need not: when it is listed, and when it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points

from hub.api import TaskSpec

__all__ = ["heavy_imports"]

HEAVY = ("torch", "tensorflow", "jax", "transformers", "peft", "onnxruntime", "datasets", "bentoml", "spacy")
LIMIT_S = 120
_CODE = """
import importlib, json, sys
path, modules, heavy = json.loads(sys.argv[1])
sys.path[:] = path
for module in modules:
    importlib.import_module(module)
    found = [name for name in heavy if name in sys.modules]
    if found:
        print(json.dumps([module, found]))
        break
"""


def heavy_imports(spec: TaskSpec) -> str:
    """Return a sentence on the first module of a task that imports heavy libraries at the top; "" if none.

    The modules are imported in another process: that of the entry point first, then those of the classes.
    """
    classes = [where.partition(":")[0] for where in (spec.request, spec.response, spec.factory)]
    package = spec.factory.partition(":")[0].partition(".")[0]
    points = [
        point.module
        for point in entry_points(group="hub.tasks.v1")
        if point.module.partition(".")[0] == package
    ]
    return _heavy(tuple(dict.fromkeys([*points, *classes])), tuple(sys.path))


@cache
def _heavy(modules: tuple[str, ...], path: tuple[str, ...]) -> str:
    command = [sys.executable, "-c", _CODE, json.dumps([path, modules, HEAVY])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        return f"{modules} cannot be imported: {done.stderr[-2000:]}"
    if not done.stdout.strip():
        return ""
    module, found = json.loads(done.stdout.strip().splitlines()[-1])
    return f"importing {module} imports {', '.join(found)}: import them in the function that needs them"
