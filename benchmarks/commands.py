# SPDX-License-Identifier: Apache-2.0
"""Time to understand a command in words, against the structured command that it stands for.

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

# Repeated to the limit.
LONG = ["pick up the mug and ", "can you put the ", "no the one ", "put in ", "a. "]
LIMIT = 256


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    """Mean time of a call that may refuse."""
    began = time.perf_counter()
    for _ in range(rounds):
        with contextlib.suppress(ValueError):
            function()
    return (time.perf_counter() - began) / rounds * 1e3


def hear(example: Example) -> object:
    """Understand a sentence, with the command that it may refer to."""
    last = parse_command(example.before or "pick: the mug")
    return understand(example.text, LANGUAGES[example.language], last)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    said = [*examples("commands_en"), *examples("commands_de")]
    for example in said:
        milliseconds(lambda example=example: hear(example), 1)  # tables are made ready once
    sentences = [milliseconds(lambda each=each: hear(each), rounds) for each in said]
    structured = [
        milliseconds(lambda each=each: parse_command(each.structured), rounds) for each in said
    ]
    last = parse_command("pick: the mug; place: the bowl")
    texts = [(part * LIMIT)[:LIMIT] for part in LONG]
    hostile = [
        milliseconds(lambda text=text: understand(text, LANGUAGES["en"], last), rounds)
        for text in texts
    ]
    print(f"{len(said)} sentences          median    p95    max   ms")
    for name, times in (("in words", sentences), ("structured", structured), ("long", hostile)):
        p95 = sorted(times)[int(len(times) * 0.95)]
        print(f"{name:18}{statistics.median(times):12.3f}{p95:7.3f}{max(times):7.3f}")
    ratio = statistics.median(sentences) / statistics.median(structured)
    print(f"in words / structured: {ratio:.1f}")


if __name__ == "__main__":
    main()
