"""One forward over many adapters: ours beside PEFT and beside the bare base, in one run.

    python -m benchmarks.mixed_batch [--only NAME ...] [--rounds N] [--data FOLDER]

Adapters are random, rank 8 on the query and value layers of MiniLM, with a head of two labels each: what is
measured does not depend on what they learned. Ours is the engine as a server gets it (`auto`); PEFT runs
the same adapters by `adapter_names`, or one after the other with `set_adapter`, in fp32 and, where that is
faster, in bf16. OpenVINO alone has rows of its own. Figures named int8_* allow ours an int8 base, which
adapters have to earn elsewhere. Each figure is a ratio of medians over rounds in which every way takes its
turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.mixed import adapters, lengths, memory, timing, writes, zipf
from benchmarks.report import Target, report

TARGETS: dict[str, Target] = {
    "vs_peft_mixed_64": (">=", 3),
    "vs_peft_mixed_64_same": (">=", 2.2),
    "vs_peft_solo_64": (">=", 11),
    "vs_bare_64_qv": ("<=", 1.1),
    "vs_bare_64_all": ("<=", 1.25),
    "vs_peft_1x32": (">=", 2.2),
    "vs_peft_mixed_32x128": (">=", 3),
    "int8_vs_peft_64x32": (">=", 4.5),
    "int8_vs_peft_64x32_same": (">=", 3.3),
    "int8_vs_peft_32x128": (">=", 4.5),
    "int8_vs_peft_1x32": (">=", 3.5),
    "zipf_1000_vs_5": (">=", 0.95),
    "lengths_vs_arrival": (">=", 1.5),
    "resident_gb_1000": ("<=", 1.5),
    "write_p99_ms": ("<=", 1),
    "write_stall_ms": ("<=", 1),
    "worst_choice": ("<=", 1.1),
}
PARTS = {
    "peft": timing.against_peft,
    "bare": timing.against_bare,
    "choice": timing.choices,
    "zipf": zipf.run,
    "lengths": lengths.run,
    "writes": writes.run,
    "memory": memory.run,
}


def main() -> bool:
    """Measure the parts asked for and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="Parts to measure.")
    parser.add_argument("--rounds", type=int, default=9, help="Repetitions; their median counts.")
    parser.add_argument("--data", type=Path, help="Folder with sst2/ and ag_news/, for the real texts.")
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-mixed-") as folder:
        setting = adapters.Setting(Path(folder), options.rounds, options.data)
        for part in options.only:
            found = PARTS[part](setting)
            rows += found.rows
            figures |= found.figures
    return report("mixed_batch", ("PART", "WAY", "VALUE", "UNIT"), rows, figures, TARGETS)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
