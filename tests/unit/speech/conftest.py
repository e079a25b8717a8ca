# SPDX-License-Identifier: Apache-2.0
"""The parts of speech that take seconds to load, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test folders are not packages

if TYPE_CHECKING:
    from mllmseg_ros.speech.activity import SileroVad
    from mllmseg_ros.speech.sphinx import Sphinx


@pytest.fixture(scope="session")
def vad() -> SileroVad:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("silero_vad", reason="silero-vad is not installed")
    from mllmseg_ros.speech.activity import SileroVad

    return SileroVad()


@pytest.fixture(scope="session")
def sphinx() -> Sphinx:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    from mllmseg_ros.speech.sphinx import Sphinx

    return Sphinx(wake_word="")
