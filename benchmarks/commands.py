# SPDX-License-Identifier: Apache-2.0
"""Time to understand a command in natural language, compared with its structured form.

``python benchmarks/commands.py [--rounds 20]``: the sentences of the tests, in milliseconds, and
the ratio of medians, in one run on one machine.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "language")]

from command_file import Example, examples  # noqa: E402

from mllmseg_ros.language.command import parse_command  # noqa: E402
from mllmseg_ros.language.conversation import LANGUAGES, understand  # noqa: E402

# Repeated up to the length limit.
LONG = ["pick up the mug and ", "can you put the ", "no the one ", "put in ", "a. "]
LIMIT = 256


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    """Measure the mean time of a call that may raise ValueError."""
    start = time.perf_counter()
    for _ in range(rounds):
        with contextlib.suppress(ValueError):
            function()
    return (time.perf_counter() - start) / rounds * 1e3


def understand_example(example: Example) -> object:
    """Understand a sentence and the command before it."""
    last = parse_command(example.before or "pick: the mug")
    return understand(example.text, LANGUAGES[example.language], last)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    all_examples = [*examples("commands_en"), *examples("commands_de")]
    for example in all_examples:
        milliseconds(lambda example=example: understand_example(example), 1)  # prepares the tables
    sentences = [
        milliseconds(lambda each=each: understand_example(each), rounds) for each in all_examples
    ]
    structured = [
        milliseconds(lambda each=each: parse_command(each.structured), rounds)
        for each in all_examples
    ]
    last = parse_command("pick: the mug; place: the bowl")
    texts = [(part * LIMIT)[:LIMIT] for part in LONG]
    hostile = [
        milliseconds(lambda text=text: understand(text, LANGUAGES["en"], last), rounds)
        for text in texts
    ]
    print(f"{len(all_examples)} sentences          median    p95    max   ms")
    for name, times in (("in words", sentences), ("structured", structured), ("long", hostile)):
        p95 = sorted(times)[int(len(times) * 0.95)]
        print(f"{name:18}{statistics.median(times):12.3f}{p95:7.3f}{max(times):7.3f}")
    ratio = statistics.median(sentences) / statistics.median(structured)
    print(f"in words / structured: {ratio:.1f}")


if __name__ == "__main__":
    main()
