"""The engine on a GPU, in one command on a bare machine: its tests there, then what it is worth there.

    python -m benchmarks.gpu [--wheels FOLDER] [--device cuda] [--quick] [--only PART ...] [--out FOLDER]

It runs from the source tree. `--wheels` installs the wheels of `python -m benchmarks.gpu.fetch FOLDER` into
a temporary folder, for a machine that has torch, transformers and pytest, and no network. Parts:

    checks   the tests marked gpu: exactness of every family and method, bf16, generation, writes, waiting
    encoder  one forward of BERT-base's shape with 1,000 adapters, beside PEFT's mixed batch and the bare base
    writes   slots written beside forwards
    decoder  Llama 3.2 1B's shape: tokens a second, beside PEFT's mixed batch and the bare base
    graphs   the encoder's backbone alone: as it is, by torch.compile, and in a CUDA graph

Weights are random. Each figure is a ratio of medians over rounds in which every way takes its turn.
`--device cpu --quick` runs all of it on small shapes. `--out` keeps gpu.json and gpu.md, a table for
docs/results.md. A part that fails is reported, and the others run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = ("checks", "encoder", "writes", "decoder", "graphs")


def main() -> bool:
    """Install what is missing if asked, run the parts, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="Folder of wheels to install first.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu.")
    parser.add_argument("--quick", action="store_true", help="Small shapes, few rounds and tests.")
    parser.add_argument("--rounds", type=int, default=9, help="Turns of each way; the median counts.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="Folder for gpu.json and gpu.md.")
    options = parser.parse_args()
    if options.wheels:
        return _with_wheels(options.wheels)
    from benchmarks.gpu.parts import run

    return run(
        options.device, options.only, 2 if options.quick else options.rounds, options.quick, options.out
    )


def _with_wheels(folder: Path) -> bool:
    """Install the wheels for one run, and do it there."""
    with tempfile.TemporaryDirectory(prefix="gpu-site-") as site:
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
        ]
        wheels = [str(path) for path in sorted(folder.glob("*.whl"))]
        subprocess.run([*install, "--target", site, *wheels], check=True)
        arguments = sys.argv[1:]
        at = next(n for n, one in enumerate(arguments) if one.partition("=")[0] == "--wheels")
        del arguments[at : at + (1 if "=" in arguments[at] else 2)]
        paths = [site, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
