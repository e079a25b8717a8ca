# SPDX-License-Identifier: Apache-2.0
"""Parameters and the file that explains them say the same."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import yaml
from rclpy.parameter import Parameter

from mllmseg_ros.ros.parameter_fields import changed
from mllmseg_ros.ros.parameters import SegmenterParameters
from mllmseg_ros.ros.speech_parameters import SpeechParameters

CONFIG = Path(__file__).resolve().parents[2] / "config"
BOTH = pytest.mark.parametrize(
    ("file", "kind"),
    [("mllmseg.yaml", SegmenterParameters), ("speech.yaml", SpeechParameters)],
)


@BOTH
def test_the_file_has_every_parameter_with_its_default(file: str, kind: type) -> None:
    values = yaml.safe_load((CONFIG / file).read_text())["/**"]["ros__parameters"]
    defaults = {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in dataclasses.fields(kind)
    }
    assert values == defaults
    assert [type(each) for each in values.values()] == [type(each) for each in defaults.values()]


@BOTH
def test_the_file_explains_every_parameter_in_the_code_s_words(file: str, kind: type) -> None:
    def words(text: str) -> str:
        return " ".join(re.findall(r"[a-z0-9_]+", text.lower()))

    comments, explained = [], {}
    for line in (CONFIG / file).read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comments.append(text.lstrip("# "))
        elif text:
            explained[text.split(":")[0]] = " ".join(comments)
            comments = []
    for field in dataclasses.fields(kind):
        comment = explained[field.name]
        assert words(field.metadata["description"]) in words(comment), field.name
        assert comment.startswith("live.") == field.metadata["live"], field.name


def test_a_change_is_checked() -> None:
    current = SegmenterParameters()
    after = changed(current, [Parameter("threshold", value=0.7)], configured=True)
    assert (after.threshold, after.model) == (0.7, "")
    assert changed(current, [Parameter("use_sim_time", value=True)], configured=True) == current
    with pytest.raises(ValueError, match="prompt is 'both', accepted: single, joint"):
        changed(current, [Parameter("prompt", value="both")], configured=True)
    for rate in (1e-12, 9e-4):
        with pytest.raises(ValueError, match=r"max_rate is .* Hz, accepted: 0 \(no limit\) or"):
            changed(current, [Parameter("max_rate", value=rate)], configured=True)
    for cameras in (["front", "front"], ["a/b"], ["1st"], []):
        with pytest.raises(ValueError, match=r"parameter cameras .* accepted: "):
            SegmenterParameters(cameras=tuple(cameras))
    with pytest.raises(ValueError, match="clean up the node first"):
        changed(current, [Parameter("image_transport", value="raw")], configured=True)
    raw = changed(current, [Parameter("image_transport", value="raw")], configured=False)
    assert raw.image_transport == "raw"
    # The same value again, as a parameter file that is loaded twice sends it.
    assert (
        changed(current, [Parameter("image_transport", value="auto")], configured=True) == current
    )
