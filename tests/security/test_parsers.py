# SPDX-License-Identifier: Apache-2.0
"""A parser returns or raises a ValueError for every input, in little memory and time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("hypothesis", reason="needs requirements/test.txt")
pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")

sys.path.insert(0, str(Path(__file__).parent))

from fuzzing import ENTRY_POINTS, run_in_process

pytestmark = pytest.mark.threat("F2", "F3")

N_INPUTS = 16_000  # about 20 s


def test_inputs_that_no_program_would_write(tmp_path: Path) -> None:
    jobs = [(each.name, 0, max(10, N_INPUTS * each.share // 1000)) for each in ENTRY_POINTS]
    tallies = run_in_process(jobs, 20251, tmp_path)
    faults = [f"{name}, {fault}" for name, tally in tallies.items() for fault in tally.faults]
    assert not faults, "\n".join(faults[:5])
    for name, _, n_inputs in jobs:
        # Hypothesis stops early where it has tried everything.
        assert tallies[name].inputs >= 0.5 * n_inputs, name
    assert sum(tally.accepted for tally in tallies.values()) > N_INPUTS / 5  # not all is noise
    assert sum(tally.refused for tally in tallies.values()) > N_INPUTS / 5
