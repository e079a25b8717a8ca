# SPDX-License-Identifier: Apache-2.0
"""The demo as a user starts it: results, images, and no processes left at the end."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("mujoco", reason="needs MuJoCo")

from ament_index_python.packages import get_package_prefix
from ros_harness import new_domain

from mllmseg_ros.geometry.localization import MIN_POINTS
from mllmseg_ros.ros.demo.segment_plan import format_table, judge, plan_commands
from mllmseg_ros.ros.demo.sim_camera_node import sway_poses
from mllmseg_ros.segmentation import Status, build_segmentation
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.samples import N_SAMPLES, load_sample

DEMO = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros" / "demo"


@pytest.fixture(scope="module")
def gl() -> None:
    try:
        TabletopCamera(64, 48).close()
    except RuntimeError as error:
        pytest.skip(str(error))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(DEMO), "--out", str(folder), *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(new_domain()), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def is_gone(group: int) -> bool:
    """Return whether no process of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_demo_gets_all_results_and_ends(tmp_path: Path, gl: None) -> None:
    demo = start(tmp_path)
    try:
        output, _ = demo.communicate(timeout=150)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
    assert demo.returncode == 0, output
    assert is_gone(demo.pid)
    assert "absent" in output
    assert "pick: " in output
    assert "console at http://127.0.0.1:" in output or "no web console" in output
    assert "Traceback" not in output
    images = sorted(tmp_path.glob("*.png"))
    assert len(images) >= 5
    assert cv2.imread(str(images[0])).shape == (480, 640, 3)


def test_live_commands_and_ctrl_c(tmp_path: Path, gl: None) -> None:
    demo = start(tmp_path, "--live")
    try:
        assert demo.stdin is not None
        demo.stdin.write("the mug\n")
        demo.stdin.flush()
        deadline = time.monotonic() + 120
        while not (tmp_path / "01.png").exists():
            assert demo.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=30)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
    assert demo.returncode == 0, output
    lines = output.splitlines()
    (asked,) = (line for line in lines if line.startswith("type a command"))
    assert "http://127.0.0.1:" in asked or "no web console" in output
    first = lines[lines.index(asked) + 1].removeprefix("> ")
    assert re.fullmatch(r"the mug  (FOUND \d\.\d\d m|NO_TARGET|LOW_CONFIDENCE)", first), output
    # The terminal is for commands and results; everything else is in the file.
    assert "[INFO]" not in output
    assert "[INFO]" in (tmp_path / "node.log").read_text()
    assert "Traceback" not in output
    assert is_gone(demo.pid)


@pytest.mark.parametrize("index", range(N_SAMPLES))
def test_planned_commands_have_present_and_absent_targets(index: int) -> None:
    planned = plan_commands(load_sample(index).objects, seed=index)
    expressions = [each for command in planned for each in command.expressions]
    assert len(planned) >= 4
    assert len({command.text for command in planned}) == len(planned)
    assert sum(not each.targets for each in expressions) == 1
    assert plan_commands(load_sample(index).objects, seed=index) == planned


def test_verdicts_on_the_truth_and_on_a_miss() -> None:
    view = load_sample(0)
    depth_m = np.where(view.depth_m > 0, view.depth_m, np.nan).astype(np.float32)
    truth = view.instances == 1
    assert truth.sum() > MIN_POINTS
    v, u = np.nonzero(truth)
    z = depth_m[v, u].astype(np.float64)
    K = view.K
    x, y = (u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z
    mean = np.array([x.mean(), y.mean(), z.mean()])
    perfect = build_segmentation("the can", Status.FOUND, 0.9, 0.9, truth.astype(np.float32), truth)
    off = mean + np.array([0, 0, 0.01])
    verdict = judge([perfect], [off], (1,), view.instances, depth_m, K)
    assert verdict.iou == 1.0
    assert verdict.centroid_error_mm == pytest.approx(10.0)
    missed = dataclasses.replace(perfect, status=Status.NO_TARGET)
    assert judge([missed], [], (1,), view.instances, depth_m, K).iou == 0.0
    # Two halves of the target as two instances: one mask together, the larger error counts.
    left = truth & (np.arange(truth.shape[1]) < u.mean())
    halves = [
        build_segmentation("the can", Status.FOUND, 0.9, 0.9, half.astype(np.float32), half)
        for half in (left, truth & ~left)
    ]
    both = judge(halves, [mean, off], (1,), view.instances, depth_m, K)
    assert both.iou == 1.0
    assert both.centroid_error_mm == pytest.approx(10.0)
    rejected = judge([missed], [], (), view.instances, depth_m, K)
    assert (rejected.iou, rejected.should_be_found) == (None, False)
    rows = format_table([(verdict, 12.0), (rejected, 3.0)]).splitlines()
    assert "10.0 mm" in rows[1]
    assert "absent" in rows[2]


def test_objects_sway_little_and_keep_apart() -> None:
    scene = random_scene(17, "validation", 7)
    for time_s in np.linspace(0, 9, 10):
        for instance_id, (x, y, _) in sway_poses(scene, time_s).items():
            x0, y0 = scene.objects[instance_id - 1].xy_m
            assert np.hypot(x - x0, y - y0) < 0.03
