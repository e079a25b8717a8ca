# SPDX-License-Identifier: Apache-2.0
"""Parameters and the file that explains them say the same."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import yaml
from rclpy.parameter import Parameter

from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.speech.parameters import SpeechParameters
from mllmseg_ros.ros.support.parameter_fields import changed

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = [("mllmseg.yaml", SegmenterParameters), ("speech.yaml", SpeechParameters)]
if importlib.util.find_spec("aiohttp"):
    from mllmseg_ros.ros.console.parameters import ConsoleParameters

    FILES.append(("console.yaml", ConsoleParameters))
EACH = pytest.mark.parametrize(("file", "kind"), FILES)


@EACH
def test_the_file_has_every_parameter_with_its_default(file: str, kind: type) -> None:
    values = yaml.safe_load((CONFIG / file).read_text())["/**"]["ros__parameters"]
    defaults = {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in dataclasses.fields(kind)
    }
    assert values == defaults
    assert [type(each) for each in values.values()] == [type(each) for each in defaults.values()]


@EACH
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
    with pytest.raises(ValueError, match="prompt_mode is 'both', accepted: single, joint"):
        changed(current, [Parameter("prompt_mode", value="both")], configured=True)
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


def test_former_names_are_accepted() -> None:
    current = SegmenterParameters()
    changes = [Parameter("prompt", value="joint"), Parameter("mask_score_limit", value=0.9)]
    after = changed(current, changes, configured=True)
    assert (after.prompt_mode, after.min_mask_score) == ("joint", 0.9)
    with pytest.raises(ValueError, match="prompt_mode is 'both', accepted: single, joint"):
        changed(current, [Parameter("prompt", value="both")], configured=True)


def test_the_console_reads_its_token_from_a_file_and_asks_for_one_where_others_can_reach_it(
    tmp_path: Path,
) -> None:
    console_parameters = pytest.importorskip("mllmseg_ros.ros.console.parameters")
    file = tmp_path / "token"
    settings = console_parameters.ConsoleParameters(address="0.0.0.0", token_file=str(file))
    with pytest.raises(ValueError, match="token_file cannot be read: "):
        settings.access()
    file.write_text("\n")
    with pytest.raises(ValueError, match="has no token in its first line"):
        settings.access()
    file.write_text("a token that is long\nnot this\n")
    assert settings.access().token == "a token that is long"
    with pytest.raises(ValueError, match="a token is needed"):
        dataclasses.replace(settings, token_file="").access()
    two = dataclasses.replace(settings, origins="https://a.example http://b:80")
    assert two.access().origins == ("https://a.example", "http://b:80")
