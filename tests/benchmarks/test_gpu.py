"""`benchmarks.gpu` runs on a CPU as it does on a GPU, and what it carries there is complete."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks.gpu import fetch
from benchmarks.gpu.__main__ import main
from tests.support.preloaded import ASKED_FOR, preloaded


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_all_parts_run_on_a_cpu_and_are_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--quick", "--out", str(tmp_path)])
    forking = preloaded()
    forking.write_script(Path(forking.address).with_name("pytest"))  # that of `checks` is forked
    monkeypatch.setattr("tests.support.preloaded.ASKED_FOR", (*ASKED_FOR, "pytest"))
    good = main()
    said = capfd.readouterr()
    assert good, said.err[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["failed"] == []
    figures = found["figures"]
    assert figures["tests_passed"] >= 5 and figures["tests_failed"] == 0
    assert figures["vs_peft_12x8_float32"] > 0 and figures["generate_vs_peft_4x8+6"] > 0
    assert {"compile_1x8", "write_p99_ms", "tokens_per_s_4x8+6"} <= figures.keys()
    table = (tmp_path / "gpu.md").read_text()
    assert "| checks |  | failed | 0 | tests |" in table
    assert table.count("| ours |") >= 3
    assert json.loads(said.out.strip().splitlines()[-1])["name"] == "gpu"


def test_a_part_that_fails_is_told_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.gpu import parts

    def fail(setting: object) -> None:
        raise OSError("no compiler")

    monkeypatch.setitem(parts.PARTS, "graphs", fail)
    monkeypatch.setitem(parts.PARTS, "writes", lambda setting: parts.Found([("", "x", 1, "ms")], {"x": 1.0}))
    assert not parts.run("cpu", ["graphs", "writes"], 1, True, tmp_path)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["failed"] == ["graphs"] and found["figures"] == {"x": 1.0}
    assert "no compiler" in capsys.readouterr().err


def wheel(folder: Path, name: str, version: str, *lines: str) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with ZipFile(path, "w") as opened:
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
        opened.writestr(f"{name}-{version}.dist-info/METADATA", text)
    return path


def all_but(folder: Path, *names: str) -> list[Path]:
    return [wheel(folder, name.replace("-", "_"), "1.0") for name in fetch.LACKING if name not in names]


def test_wheels_that_need_nothing_else_are_complete(tmp_path: Path) -> None:
    wheels = all_but(tmp_path, "peft")
    wheels.append(
        wheel(
            tmp_path,
            "peft",
            "1.0",
            "Requires-Python: >=3.10",
            "Requires-Dist: torch>=2",
            "Requires-Dist: pydantic>=0.9",
            "Requires-Dist: tomli; python_version < '3.11'",
            "Requires-Dist: black; extra == 'dev'",
        )
    )
    assert fetch.unmet(wheels, "3.12") == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Requires-Dist: nowhere", "peft-1.0-py3-none-any.whl needs nowhere."),
        ("Requires-Dist: pydantic>=2", "peft-1.0-py3-none-any.whl needs pydantic>=2, not 1.0."),
        ("Requires-Python: >=3.13", "peft-1.0-py3-none-any.whl is not for Python 3.12."),
    ],
)
def test_what_is_lacking_is_named(tmp_path: Path, line: str, fault: str) -> None:
    wheels = all_but(tmp_path, "peft")
    assert fetch.unmet(wheels, "3.12") == ["There is no wheel of peft."]
    assert fetch.unmet([*wheels, wheel(tmp_path, "peft", "1.0", line)], "3.12") == [fault]


def test_every_wheel_has_the_version_of_the_constraints() -> None:
    found = fetch.pinned(fetch.LACKING, fetch.CONSTRAINTS.read_text(encoding="utf-8"))
    assert len(found) == len(fetch.LACKING) and all("==" in one for one in found)
    with pytest.raises(ValueError, match="does not pin nowhere"):
        fetch.pinned(["nowhere"], "peft==1.0\n")
