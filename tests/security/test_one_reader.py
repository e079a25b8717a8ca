# SPDX-License-Identifier: Apache-2.0
"""Text, JSON, YAML and images are read by the package's own readers, which have limits."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.threat("F2")

PACKAGE = Path(__file__).parents[2] / "mllmseg_ros"

# Calls that read, or parse, without a limit: the last parts of the name as it is written.
UNLIMITED = {
    "json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.full_load", "YAML", "read_text",
    "pickle.load", "pickle.loads", "np.load", "numpy.load", "np.loadtxt", "np.fromfile",
    "torch.load", "Image.open", "cv2.imread", "cv2.imdecode", "cv2.VideoCapture", "wave.open",
    "ElementTree.parse",
}  # fmt: skip

# The readers themselves, and what reads files that come with the package or belong to the system.
ALLOWED = {
    "files/structured_text.py": {"json.loads", "yaml.safe_load"},  # the readers
    "codecs/image_file.py": {"Image.open"},
    "codecs/images.py": {"Image.open", "cv2.imdecode"},  # of messages: pixels are checked before
    "checkpoints/conversion.py": {"torch.load"},  # weights_only, of a checked file
    "recording/video.py": {"cv2.VideoCapture"},  # of a checked file
    "speech/audio.py": {"wave.open"},  # of a checked file
    "speech/pronunciation.py": {"read_text"},  # comes with pocketsphinx
    "speech/voice.py": {"wave.open"},  # what Piper says of a text whose length is limited
    "sim/dataset.py": {"json.loads", "np.load"},  # written by the package itself, for training
    "sim/samples.py": {"json.loads", "read_text", "cv2.imread"},  # comes with the package
    "sim/sensor.py": {"cv2.imdecode"},  # of what was encoded the line before
    "train/augment.py": {"cv2.imdecode"},  # the same
    "eval/perturb.py": {"Image.open"},  # likewise
    "train/paper/batches.py": {"Image.open"},  # likewise
    "benchmark/machine.py": {"read_text"},  # /proc
    "doctor/memory.py": {"read_text"},  # /proc
    "ros/node/diagnostics.py": {"read_text"},  # /proc
    "ros/support/lost_ports.py": {"read_text"},  # /proc
    "ros/tools/doctor.py": {"read_text"},  # /proc
}


def calls(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the names of what is called, "a.b.c" and its ends "b.c" and "c", and the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        # As a plain function, read_text is the one of mllmseg_ros.files.
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = ast.unparse(node.func).split(".")
            for first in range(len(parts)):
                yield ".".join(parts[first:]), node.lineno


def test_nothing_else_reads_what_others_wrote() -> None:
    found: dict[str, set[str]] = {}
    places = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).as_posix()
        for name, line in calls(path):
            if name not in UNLIMITED:
                continue
            found.setdefault(relative, set()).add(name)
            if name not in ALLOWED.get(relative, ()):
                places.append(f"mllmseg_ros/{relative}:{line}: {name}")
    assert not places, "use mllmseg_ros.files or codecs.image_file:\n" + "\n".join(places)
    stale = {file: names - found.get(file, set()) for file, names in ALLOWED.items()}
    assert not any(stale.values()), stale
