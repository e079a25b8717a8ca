# SPDX-License-Identifier: Apache-2.0
"""Convert coloured points to sensor_msgs/PointCloud2 and back.

The fields are x, y, z in metres and rgb packed into a float, as RViz and PCL read them; a cloud of
all instances has labels, too. Clouds are built with sensor_msgs_py where it is installed and works,
else with NumPy; the bytes are the same. Labelled ones are always built with NumPy.
"""

from __future__ import annotations

import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from mllmseg_ros.geometry.instances import Depth, TargetFrame
from mllmseg_ros.geometry.localization import image_depth_rays
from mllmseg_ros.ros.package_choice import choose_implementation

CloudBuilder = Callable[[Header, NDArray[np.float32], NDArray[np.uint8]], PointCloud2]

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<f4")])
_LABELLED_POINT = np.dtype([*_POINT.descr, ("label", "<u4")])


def choose_cloud_builder() -> tuple[CloudBuilder, str]:
    """Choose the function that builds a PointCloud2 from points.

    Returns:
        The function and one line for the log.
    """
    choice = choose_implementation(
        "point clouds are built",
        package="sensor_msgs_py",
        check=self_check,
        from_package=cloud_by_sensor_msgs_py,
        own=cloud_from_points,
        own_name="numpy",
    )
    return choice.implementation, choice.line


def cloud_from_points(
    header: Header, points: NDArray[np.float32], rgb: NDArray[np.uint8]
) -> PointCloud2:
    """Build an unorganised cloud.

    Args:
        header: header of the image that the points belong to; copied by reference.
        points: (N, 3) m, finite.
        rgb: (N, 3) RGB.
    """
    return _cloud(header, _pack(points, rgb), _fields())


def labelled_cloud(
    header: Header,
    points: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    labels: NDArray[np.uint32],
) -> PointCloud2:
    """Build an unorganised cloud with a field ``label``; see :func:`cloud_from_points`.

    Args:
        header: header of the image that the points belong to; copied by reference.
        points: (N, 3) m, finite.
        rgb: (N, 3) RGB.
        labels: (N,) of the instances that the points belong to.
    """
    packed = np.empty(len(points), dtype=_LABELLED_POINT)
    colored = _pack(points, rgb)
    for name in _POINT.names or ():
        packed[name] = colored[name]
    packed["label"] = labels
    label = PointField(name="label", offset=_POINT.itemsize, datatype=PointField.UINT32, count=1)
    return _cloud(header, packed, [*_fields(), label])


def _cloud(header: Header, packed: NDArray[np.void], fields: list[PointField]) -> PointCloud2:
    cloud = PointCloud2(
        header=header,
        height=1,
        width=len(packed),
        fields=fields,
        is_bigendian=False,
        point_step=packed.dtype.itemsize,
        row_step=packed.nbytes,
        is_dense=True,
    )
    # rclpy checks every element of any other type, which is slow.
    cloud.data = array.array("B", packed.tobytes())
    return cloud


def points_from_cloud(cloud: PointCloud2) -> NDArray[np.float32]:
    """Read the points (N, 3), in metres, of a cloud that this package has built."""
    return np.frombuffer(cloud.data, np.float32).reshape(-1, _POINT.itemsize // 4)[:, :3]


def colors_from_cloud(cloud: PointCloud2) -> NDArray[np.uint8]:
    """Read the colours (N, 3), RGB, of a cloud that this package has built."""
    packed = np.frombuffer(cloud.data, np.uint32).reshape(-1, _POINT.itemsize // 4)[:, 3]
    return np.stack([packed >> 16, packed >> 8, packed], axis=1).astype(np.uint8)


def scene_points(
    rgb: NDArray[np.uint8],
    depth: Depth,
    targets: NDArray[np.bool_],
    frame: TargetFrame | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Compute the points of everything but the targets: the obstacles of a motion planner.

    Args:
        rgb: (H, W, 3) RGB image.
        depth: depth of the same image.
        targets: (H, W) mask of all targets.
        frame: frame of the points; None: the camera's optical frame.

    Returns:
        Points (N, 3) in metres and their colours (N, 3).
    """
    z = depth.metres
    v, u = np.nonzero(np.isfinite(z) & ~targets)
    points = image_depth_rays(u, v, depth.intrinsics, (z.shape[0], z.shape[1])) * z[v, u]
    if frame is not None:
        points = frame.from_camera[:3, :3] @ points + frame.from_camera[:3, 3:]
    return points.T.astype(np.float32), rgb[v, u]


def cloud_by_sensor_msgs_py(
    header: Header, points: NDArray[np.float32], rgb: NDArray[np.uint8]
) -> PointCloud2:
    """Build the same cloud with sensor_msgs_py."""
    from sensor_msgs_py import point_cloud2

    cloud = point_cloud2.create_cloud(header, _fields(), _pack(points, rgb))
    cloud.is_dense = True  # it has no NaN; sensor_msgs_py never sets this
    return cloud


def self_check() -> None:
    """Compare both builders on a small cloud.

    Raises:
        ValueError: if the clouds differ.
    """
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    rgb = np.arange(12, dtype=np.uint8).reshape(4, 3)
    if cloud_by_sensor_msgs_py(Header(), points, rgb) != cloud_from_points(Header(), points, rgb):
        raise ValueError("its cloud differs from ours")


def _pack(points: NDArray[np.float32], rgb: NDArray[np.uint8]) -> NDArray[np.void]:
    """Pack each point into a record; the colour is 0x00RRGGBB, its bits read as a float."""
    r, g, b = rgb.astype(np.uint32).T
    packed = np.empty(len(points), dtype=_POINT)
    packed["x"], packed["y"], packed["z"] = points.T
    packed["rgb"] = (r << 16 | g << 8 | b).view(np.float32)
    return packed


def _fields() -> list[PointField]:
    return [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(_POINT.names or ())
    ]
