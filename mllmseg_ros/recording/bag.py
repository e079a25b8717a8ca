# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 as a recording: images with the depth, camera info and transforms that belong to them.

Depth and camera info are those of the nearest stamp within the node's own tolerance.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError

from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.codecs.images import nanoseconds, rgb_from_compressed, rgb_from_image
from mllmseg_ros.codecs.transforms import put_transforms
from mllmseg_ros.error_text import one_line
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.transforms import TransformBuffer, TransformError
from mllmseg_ros.recording.bag_types import typestore
from mllmseg_ros.recording.cameras import Camera, cameras_of
from mllmseg_ros.recording.recorded_image import BAG_SUFFIXES, Picture, no_depth
from mllmseg_ros.recording.truncated_mcap import TruncatedMcap

__all__ = ["BagSource"]

# The node's own words for what belongs to an image (config/mllmseg.yaml, depth_tolerance).
TOLERANCE_NS = 20_000_000
_WAIT_NS = 200_000_000  # in the bag, for depth and transforms that were recorded after the image
_CAPACITY = 64  # depth images and camera infos, recorded before the image that they belong to
_TRANSFORMS = "tf2_msgs/msg/TFMessage"


class BagSource:
    """A bag of ROS 2: sqlite3 or mcap, a folder or one storage file, also a truncated mcap."""

    def __init__(self, path: Path, topics: Sequence[str] = ()) -> None:
        """Open it and find its cameras.

        Args:
            path: of the bag.
            topics: image topics to look at; none for the only one.

        Raises:
            ValueError: if it cannot be read, or which images are meant is not clear.
        """
        self.path = path
        self._where, self.mended = _readable(path)
        with Reader(self._where) as reader:
            is_mcap = any(".mcap" in file.name for file in _files(path))
            self.storage = "mcap" if is_mcap else "sqlite3"
            self.connections = list(reader.connections)
            self.cameras = cameras_of(path, reader, topics)
        if self.mended:
            print(
                f"{path}: ends in the middle ({self.mended}); what is readable is used",
                file=sys.stderr,
            )

    def identity(self) -> dict[str, object]:
        """Name and size of the storage, and the cameras looked at."""
        return {
            "name": self.path.resolve().name,
            "bytes": sum(file.stat().st_size for file in _files(self.path)),
            "topics": [camera.image for camera in self.cameras],
        }

    def messages(self, wanted: Callable[[Connection], bool]) -> Iterator[tuple[Any, int, bytes]]:
        """Connection, time recorded (ns) and bytes of every wanted message, by time.

        What cannot be read any more ends the bag, and is said.
        """
        with Reader(self._where) as reader:
            chosen = [each for each in reader.connections if wanted(each)]
            if not chosen:
                return
            messages = reader.messages(chosen)
            last_ns = 0
            while True:
                # A broken bag raises what its reader, its database or its compression has to say.
                try:
                    connection, recorded_ns, data = next(messages)
                except StopIteration:
                    return
                except Exception as error:
                    reason = one_line(error, with_type=False)
                    print(
                        f"{self.path}: broken after {last_ns / 1e9:.3f} s ({reason}); "
                        "what comes before is used",
                        file=sys.stderr,
                    )
                    return
                last_ns = recorded_ns
                yield connection, recorded_ns, data

    def pictures(self, every: int) -> Iterator[Picture]:
        """Every so manieth image of each camera, by the time recorded."""
        roles: dict[str, list[tuple[str, Camera]]] = {}
        for camera in self.cameras:
            for role in ("image", "info", "depth", "depth_info"):
                if topic := getattr(camera, role):
                    roles.setdefault(topic, []).append((role, camera))
        pairings = {camera.name: DepthPairing(_CAPACITY) for camera in self.cameras}
        n_images = dict.fromkeys(pairings, 0)
        transforms = TransformBuffer()
        waiting: deque[Picture] = deque()

        def wanted(connection: Connection) -> bool:
            return connection.topic in roles or connection.msgtype == _TRANSFORMS

        for connection, recorded_ns, data in self.messages(wanted):
            while waiting and waiting[0].recorded_ns + _WAIT_NS < recorded_ns:
                yield waiting.popleft()
            if connection.msgtype == _TRANSFORMS:
                _put_transforms(transforms, connection, data)
                continue
            for role, camera in roles[connection.topic]:
                pairing = pairings[camera.name]
                if role == "image":
                    n_images[camera.name] += 1
                    if (n_images[camera.name] - 1) % every == 0:
                        image = _picture(camera, connection, recorded_ns, data)
                        waiting.append(_paired(image, pairing, transforms))
                else:
                    _put(pairing, role, connection, data)
        yield from waiting


def _readable(path: Path) -> tuple[Any, str]:
    """What rosbags can read of a bag, and what was wrong with the rest ("" if nothing)."""
    files = _files(path)
    whole: Any = path
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        # A recorder that was killed leaves no metadata.
        if len(files) > 1:
            raise ValueError(
                f"{path}: {len(files)} storage files without metadata.yaml; `ros2 bag reindex` "
                "makes it"
            )
        whole = files[0]
    try:
        with Reader(whole):
            return whole, ""
    except Exception as error:  # a broken bag raises whatever its database has to say
        reason = one_line(error, with_type=False)
    if len(files) > 1:
        hint = f"its files may be read one by one: {', '.join(file.name for file in files)}"
    elif files and files[0].suffix == ".mcap":
        with suppress(ReaderError, SerdeError, OSError, ValueError, TypeError):
            mended = TruncatedMcap(files[0])
            with Reader(mended) as reader:  # type: ignore[arg-type]
                if reader.message_count:
                    return mended, reason
        hint = "nothing in it is readable"
    elif files and files[0].suffix == ".db3":
        name = files[0].name
        hint = f"`sqlite3 {name} .recover | sqlite3 whole.db3` may bring back what is readable"
    else:
        hint = f"expected {' or '.join(BAG_SUFFIXES)} beside its metadata.yaml"
    raise ValueError(f"{path}: not a whole bag of ROS 2 ({reason}); {hint}")


def _files(path: Path) -> list[Path]:
    """The storage files of a bag, also compressed ones."""
    if path.is_file():
        return [path]
    return sorted(
        each
        for each in path.iterdir()
        if each.is_file() and any(suffix in each.name for suffix in BAG_SUFFIXES)
    )


def _message(connection: Connection, data: bytes) -> Any:
    return typestore().deserialize_cdr(data, connection.msgtype)


def _picture(camera: Camera, connection: Connection, recorded_ns: int, data: bytes) -> Picture:
    try:
        message = _message(connection, data)
    except SerdeError as error:
        return Picture(
            camera=camera.name,
            stamp_ns=recorded_ns,
            frame_id="",
            recorded_ns=recorded_ns,
            frame=_raising(f"{connection.topic}: {error}"),
            depth_of=no_depth,
        )
    compressed = hasattr(message, "format")
    stamp_ns, frame_id = nanoseconds(message.header.stamp), message.header.frame_id

    def frame() -> Frame:
        rgb = rgb_from_compressed(message) if compressed else rgb_from_image(message)
        return Frame(rgb=rgb, stamp_ns=stamp_ns, frame_id=frame_id)

    encoded = None
    if compressed:
        stored = message.data.tobytes()
        encoded = (stored, ".png" if stored.startswith(b"\x89PNG") else ".jpg")
    return Picture(
        camera=camera.name,
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        recorded_ns=recorded_ns,
        frame=frame,
        depth_of=no_depth,
        encoded=encoded,
    )


def _raising(reason: str) -> Callable[[], Frame]:
    def frame() -> Frame:
        raise ValueError(reason)

    return frame


def _put(pairing: DepthPairing, role: str, connection: Connection, data: bytes) -> None:
    """Take depth or camera info in; what is malformed is as if it had not come."""
    put = {
        "depth": pairing.put_depth,
        "info": pairing.put_info,
        "depth_info": pairing.put_depth_info,
    }[role]
    with suppress(SerdeError):
        put(_message(connection, data))


def _put_transforms(transforms: TransformBuffer, connection: Connection, data: bytes) -> None:
    static = connection.topic.endswith("tf_static")
    with suppress(SerdeError):
        put_transforms(transforms, _message(connection, data).transforms, static=static)


def _paired(picture: Picture, pairing: DepthPairing, transforms: TransformBuffer) -> Picture:
    """Bind what belongs to an image, there or yet to come."""
    paired = pairing.expect(picture.stamp_ns, TOLERANCE_NS)

    def lookup_transform(source: str) -> NDArray[np.float64]:
        try:
            return transforms.lookup(picture.frame_id, source, picture.stamp_ns)
        except TransformError as error:
            target = picture.frame_id
            raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from None

    def depth_of(frame: Frame) -> Depth | None:
        return pairing.get_depth(frame, paired, rectified=False, lookup_transform=lookup_transform)

    return replace(picture, depth_of=depth_of)
