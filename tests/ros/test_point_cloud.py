# SPDX-License-Identifier: Apache-2.0
"""Point clouds byte by byte, and against sensor_msgs_py if that is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2")

from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.ros.messages import point_cloud
from mllmseg_ros.ros.messages.image_msgs import time_message

HEADER = Header(stamp=time_message(7_000_000_001), frame_id="camera")


def random_points(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(n, 3)).astype(np.float32)
    return points, rng.integers(0, 256, (n, 3), dtype=np.uint8)


def test_points_and_colours_are_at_their_fields() -> None:
    points, rgb = random_points(50)
    cloud = point_cloud.cloud_from_points(HEADER, points, rgb)
    assert cloud.header == HEADER
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 50, 16, 800)
    assert cloud.is_dense
    assert not cloud.is_bigendian
    assert [(field.name, field.offset) for field in cloud.fields] == [
        ("x", 0),
        ("y", 4),
        ("z", 8),
        ("rgb", 12),
    ]
    assert all(field.datatype == PointField.FLOAT32 for field in cloud.fields)
    raw = np.frombuffer(cloud.data, np.uint8).reshape(50, 16)
    np.testing.assert_array_equal(raw[:, :12].copy().view("<f4"), points)
    np.testing.assert_array_equal(raw[:, 14::-1][:, :3], rgb)  # blue, green, red, 0 in memory
    assert not raw[:, 15].any()


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_sensor_msgs_py_gives_the_same_cloud(n: int) -> None:
    if importlib.util.find_spec("sensor_msgs_py") is None:
        pytest.skip("sensor_msgs_py is not installed")
    points, rgb = random_points(n)
    theirs = point_cloud.cloud_by_sensor_msgs_py(HEADER, points, rgb)
    ours = point_cloud.cloud_from_points(HEADER, points, rgb)
    assert theirs.data == ours.data
    assert theirs == ours


def test_the_builder_in_use_is_named() -> None:
    build, line = point_cloud.choose_cloud_builder()
    assert ("numpy" in line) == (build is point_cloud.cloud_from_points)
    assert "sensor_msgs_py" in line


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError('built for another NumPy')", "built for another NumPy"),
        (
            "def create_cloud(header, fields, points):\n"
            "    from sensor_msgs.msg import PointCloud2\n"
            "    return PointCloud2(header=header)",
            "its cloud differs from ours",
        ),
    ],
    ids=["import", "other bytes"],
)
def test_a_broken_sensor_msgs_py_is_not_used(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sensor_msgs_py"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "point_cloud2.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("sensor_msgs_py", "sensor_msgs_py.point_cloud2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    build, line = point_cloud.choose_cloud_builder()
    assert build is point_cloud.cloud_from_points
    assert reason in line
    for name in ("sensor_msgs_py", "sensor_msgs_py.point_cloud2"):
        sys.modules.pop(name, None)


def test_the_scene_is_all_but_the_targets() -> None:
    depth_m = np.full((4, 6), 2.0, np.float32)
    depth_m[0, 0] = np.nan
    K = np.array([[2.0, 0, 2.5], [0, 2.0, 1.5], [0, 0, 1]])
    rgb = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    targets = np.zeros((4, 6), np.bool_)
    targets[1:3, 2:5] = True
    depth = Depth(metres=depth_m, intrinsics=Intrinsics(K=K, D=np.zeros(5)))
    points, colors = point_cloud.scene_points(rgb, depth, targets)
    assert points.shape == colors.shape == (24 - 6 - 1, 3)
    np.testing.assert_allclose(points[0], [(1 - 2.5) / 2 * 2, (0 - 1.5) / 2 * 2, 2.0])
    np.testing.assert_array_equal(colors[0], rgb[0, 1])
