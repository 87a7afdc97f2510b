"""Runs the parts of `python -m benchmarks.gpu`, and reports what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import torch
from transformers.utils import logging

from benchmarks.gpu import decoder, encoder
from benchmarks.gpu.bases import Found, Setting, table
from benchmarks.report import machine, report

__all__ = ["run"]

TESTS = "tests/engine/gpu"
QUICK_TESTS = (
    f"{TESTS}/test_writes.py",
    f"{TESTS}/test_waiting.py::test_a_forward_of_any_head_waits_for_nothing[bert]",
    f"{TESTS}/test_waiting.py::test_answers_are_copied_back_once_for_each_kind",
)
HEADERS = ("PART", "SHAPE", "WAY", "VALUE", "UNIT")
ROOT = Path(__file__).parents[2]


def run(device: str, parts: Sequence[str], rounds: int, quick: bool, out: Path | None) -> bool:
    """Run the parts and report; False if a test or a part failed."""
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    failed: list[str] = []
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        setting = Setting(Path(folder), torch.device(device), rounds, quick)
        for name in parts:
            try:
                found = PARTS[name](setting)
            except Exception as error:  # a lent machine is too short of time to lose the other parts
                traceback.print_exc()
                failed.append(name)
                rows.append((name, "", "failed", type(error).__name__, ""))
                continue
            rows += [(name, *row) for row in found.rows]
            figures |= found.figures
            _keep(out, setting, rows, figures, failed)
    good = report("gpu", HEADERS, rows, figures, {})
    return good and not failed and not figures.get("tests_failed")


def _keep(
    out: Path | None,
    setting: Setting,
    rows: Sequence[tuple[object, ...]],
    figures: dict[str, float],
    failed: Sequence[str],
) -> None:
    """Write what was found so far: a machine may be taken back before the end."""
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    where = f"{_device(setting.device)}; {machine()}"
    result = {"name": "gpu", "machine": where, "figures": figures, "failed": list(failed), "rows": rows}
    (out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    headers = [header.lower() for header in HEADERS]
    (out / "gpu.md").write_text(f"{where}\n\n{table(headers, rows)}", encoding="utf-8")


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def checks(setting: Setting) -> Found:
    """Run the tests marked gpu; warnings of other versions of the libraries are no errors there."""
    setting.say("the tests marked gpu")
    result = setting.folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "pytest_timeout"]
    command += ["-p", "no:cacheprovider"]
    command += ["-o", "filterwarnings=default", "--gpu-device", setting.device.type]
    command += [f"--junitxml={result}", *(QUICK_TESTS if setting.quick else [TESTS])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of other packages there may fail
    }
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
    if not result.exists():
        raise RuntimeError(f"pytest ended with {ended.returncode} before any test.")
    (suite,) = ElementTree.parse(result).getroot().iter("testsuite")
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    bad = count["failures"] + count["errors"]
    if ended.returncode and not bad:
        raise RuntimeError(f"pytest ended with {ended.returncode}.")
    passed = count["tests"] - bad - count["skipped"]
    rows: list[tuple[object, ...]] = [("", "passed", passed, "tests"), ("", "failed", bad, "tests")]
    rows.append(("", "skipped", count["skipped"], "tests"))
    rows += [(case.get("name", ""), "failed", "", "") for case in suite.iter("testcase") if _has_failed(case)]
    return Found(rows, {"tests_passed": passed, "tests_failed": bad, "tests_skipped": count["skipped"]})


def _has_failed(case: ElementTree.Element) -> bool:
    return case.find("failure") is not None or case.find("error") is not None


PARTS: dict[str, Callable[[Setting], Found]] = {
    "checks": checks,
    "encoder": encoder.mixed,
    "graphs": encoder.graphs,
    "writes": encoder.writes,
    "decoder": decoder.run,
}
