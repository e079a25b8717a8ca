# SPDX-License-Identifier: Apache-2.0
"""Parameters: the files written from them, changes, former names."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import rclpy
import yaml
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.parameter import Parameter

from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.parameter_fields import changed, declare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("aiohttp", reason="the console's parameters need aiohttp")
    path = ROOT / "tools" / "write_parameters.py"
    spec = importlib.util.spec_from_file_location("write_parameters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_what_make_parameters_writes(script: ModuleType) -> None:
    for path, text in script.rendered_files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make parameters"


@pytest.mark.parametrize("node", ["mllmseg", "speech", "console"])
def test_a_written_file_sets_every_parameter_to_its_default(script: ModuleType, node: str) -> None:
    name = {"mllmseg": "SegmenterParameters", "speech": "SpeechParameters"}.get(node)
    kind = getattr(script, name or "ConsoleParameters")
    values = yaml.safe_load(script.render_config(node, kind))["/**"]["ros__parameters"]
    defaults = {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in dataclasses.fields(kind)
    }
    assert values == defaults
    assert [type(each) for each in values.values()] == [type(each) for each in defaults.values()]


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


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, domain_id=99)
    yield context
    rclpy.shutdown(context=context)


def test_a_whole_number_sets_a_parameter_that_is_a_fraction(context: Context) -> None:
    overrides = [Parameter("max_rate", value=1), Parameter("mask_score_limit", value=1)]
    node = rclpy.create_node("numbers", context=context, parameter_overrides=overrides)
    assert declare(node, SegmenterParameters).max_rate == 1.0
    assert node.get_parameter("max_rate").type_ is Parameter.Type.DOUBLE
    services = {service.srv_type: service.callback for service in node.services}

    def set_to(name: str, value: int | str) -> list:
        messages = [Parameter(name, value=value).to_parameter_msg()]
        one = services[SetParameters](
            SetParameters.Request(parameters=messages), SetParameters.Response()
        )
        messages = [Parameter(name, value=value).to_parameter_msg()]
        together = services[SetParametersAtomically](
            SetParametersAtomically.Request(parameters=messages), SetParametersAtomically.Response()
        )
        return [*one.results, together.result]

    assert [result.successful for result in set_to("max_rate", 2)] == [True, True]
    assert node.get_parameter("max_rate").value == 2.0
    for name, value in (("max_rate", "2"), ("mode", 2), ("tracking", 1), ("nothing", 1)):
        assert [result.successful for result in set_to(name, value)] == [False, False], name
    node.destroy_node()


def test_a_value_of_another_type_is_refused_at_the_start(context: Context) -> None:
    overrides = [Parameter("tracking", value=1)]
    node = rclpy.create_node("types", context=context, parameter_overrides=overrides)
    with pytest.raises(InvalidParameterTypeException, match="tracking"):
        declare(node, SegmenterParameters)
    node.destroy_node()


def test_former_names_are_accepted() -> None:
    current = SegmenterParameters()
    changes = [Parameter("prompt", value="joint"), Parameter("mask_score_limit", value=0.9)]
    after = changed(current, changes, configured=True)
    assert (after.prompt_mode, after.min_mask_score) == ("joint", 0.9)
    with pytest.raises(ValueError, match="prompt_mode is 'both', accepted: single, joint"):
        changed(current, [Parameter("prompt", value="both")], configured=True)


def test_the_console_reads_its_token_from_a_file_and_requires_one_on_other_addresses(
    tmp_path: Path,
) -> None:
    console_parameters = pytest.importorskip("mllmseg_ros.ros.console.parameters")
    file = tmp_path / "token"
    settings = console_parameters.ConsoleParameters(address="0.0.0.0", token_file=str(file))
    with pytest.raises(ValueError, match=r"parameter token_file: .* cannot be read: No such file"):
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
