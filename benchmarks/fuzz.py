# SPDX-License-Identifier: Apache-2.0
"""Feed every parser with malformed inputs, and count the outcomes.

    python benchmarks/fuzz.py                 # --inputs 1000000 --seed 0 --only NAME --json FILE

The entry points are those of tests/security/fuzzing.py, of which the test suite runs some thousand
inputs. Each runs in a process of its own, with little memory; a crash and an input without end are
faults, as is every exception but ValueError. A fault names its input: the same seed gives it again.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "security"))

from fuzzing import ENTRY_POINTS, Tally, run_in_process

_SHOWN = 3  # faults of an entry point


def main() -> int:
    """Run and print the table; 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all entry points")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME", help="one entry point, with all inputs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the table and all faults")
    arguments = parser.parse_args()
    chosen = [each for each in ENTRY_POINTS if arguments.only in (None, each.name)]
    if not chosen:
        names = ", ".join(each.name for each in ENTRY_POINTS)
        parser.error(f"no entry point {arguments.only!r}; there are: {names}")
    print(
        "| entry point | inputs | refused | accepted | faults | CPU s |\n|---|--:|--:|--:|--:|--:|"
    )
    total, began_s, tallies = Tally(), _cpu_s(), {}
    for entry in chosen:
        count = arguments.inputs if arguments.only else arguments.inputs * entry.share // 1000
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            entry_began_s = _cpu_s()
            jobs = [(entry.name, 0, count)]
            tally = run_in_process(jobs, arguments.seed, Path(folder))[entry.name]
        _print_row(entry.name, tally, _cpu_s() - entry_began_s)
        for fault in tally.faults[:_SHOWN]:
            print(fault, file=sys.stderr)
        tallies[entry.name] = vars(tally)
        total.refused += tally.refused
        total.accepted += tally.accepted
        total.faults += tally.faults
    _print_row("all", total, _cpu_s() - began_s)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(tallies, indent=1) + "\n", encoding="utf-8")
    return 1 if total.faults else 0


def _cpu_s() -> float:
    """CPU time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory() -> str | None:
    """A folder in memory for the inputs, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _print_row(name: str, tally: Tally, duration_s: float) -> None:
    numbers = (tally.inputs, tally.refused, tally.accepted, len(tally.faults), round(duration_s))
    shown = " | ".join(f"{number:,}".replace(",", " ") for number in numbers)
    print(f"| {name} | {shown} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
