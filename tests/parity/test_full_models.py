# SPDX-License-Identifier: Apache-2.0
"""Stage by stage against the original at the published dimensions: ``make parity``.

1B (Qwen2) and 2B (InternLM2), one after the other. The Makefile says what that takes.
"""

from __future__ import annotations

import gc
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from named_weights import write_checkpoint
from recorded_model import RecordedModel, load_segmenter
from stages import PromptStages, VisionStages

pytestmark = pytest.mark.parity_full

RUNS = [
    pytest.param("c2_two", False, id="c2_two"),
    pytest.param("c4_rej", False, id="c4_rej"),
    pytest.param("c4_rej", True, id="c4_rej-reeval"),
]


@pytest.fixture(scope="module", params=["1b", "2b"])
def model(request: pytest.FixtureRequest) -> Iterator[RecordedModel]:
    # Removed once it is loaded: it takes gigabytes.
    with tempfile.TemporaryDirectory(prefix="parity_") as folder:
        segmenter = load_segmenter(write_checkpoint(request.param, Path(folder) / request.param))
    yield RecordedModel(request.param, segmenter)
    del segmenter
    gc.collect()  # before the next one is loaded
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nup to and including {request.param}: at most {peak:.1f} GB resident")


@pytest.mark.parametrize("case", ["c2_two", "c4_rej"])
class TestVision(VisionStages):
    pass


@pytest.mark.parametrize(("case", "two_passes"), RUNS)
class TestPrompts(PromptStages):
    pass
