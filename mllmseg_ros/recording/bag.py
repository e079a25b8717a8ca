# SPDX-License-Identifier: Apache-2.0
"""Read a rosbag2 as a recording: images with their depth, camera info and transforms.

Depth and camera info are matched by stamp, within the same tolerance as in the node; messages
without a stamp, or with that of the message before, by the time recorded.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection

from mllmseg_ros.codecs.camera_info import is_rectified_topic
from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.codecs.images import nanoseconds, rgb_from_compressed, rgb_from_image
from mllmseg_ros.codecs.transforms import put_transforms
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.transforms import TransformBuffer, TransformError
from mllmseg_ros.recording.bag_types import deserialize
from mllmseg_ros.recording.bounded_rosbags import Reader, decompress_file, merge_log
from mllmseg_ros.recording.cameras import Camera, find_cameras, printable
from mllmseg_ros.recording.mcap_file import McapFile
from mllmseg_ros.recording.recorded_image import BAG_SUFFIXES, RecordedImage, no_depth
from mllmseg_ros.recording.storage_files import find_storage_files, list_storage_files

__all__ = ["BagSource"]

# The node's default for depth_tolerance (config/mllmseg.yaml).
TOLERANCE_NS = 20_000_000
_RECORDED_TOLERANCE_NS = 50_000_000  # messages of one time are recorded one after the other
_WAIT_NS = 200_000_000  # depth and transforms may be recorded this much later than their image
_CAPACITY = 64  # depth images and camera infos kept for images recorded later
_END_NS = 2**31 * 1_000_000_000  # that a stamp of a result cannot hold
_MAX_REFUSALS = 3  # shown of transforms
_TRANSFORMS = "tf2_msgs/msg/TFMessage"


class BagSource:
    """A ROS 2 bag: folder or storage file, sqlite3 or mcap; an mcap may be truncated."""

    def __init__(self, path: Path, topics: Sequence[str] = ()) -> None:
        """Open the bag and find its cameras.

        Args:
            path: the bag.
            topics: image topics to read; may be empty if the bag has one camera.

        Raises:
            ValueError: The bag cannot be read, or has several cameras and no topic is given.
        """
        self.path = path
        self._warnings: set[str] = set()
        files, warnings = find_storage_files(path)
        for warning in warnings:
            self._warn(warning)
        self.storage = "mcap" if ".mcap" in files[0].name else "sqlite3"
        self._copies = TemporaryDirectory()  # of what cannot be read where it is
        self._files = self._open_files(files)
        with Reader(self._files) as reader:
            self.connections = list(reader.connections)
            others = reader.other_encodings
            if others and not self.connections:
                raise ValueError(f"{path}: {_describe_encodings(self._files, others)}")
            self.cameras = find_cameras(path, reader, topics)
        for topic, encoding in others.items():
            self._warn(f"{printable(topic)} ignored: messages in {encoding!r}, expected 'cdr'")
        for camera in self.cameras:
            if camera.other_depths:
                ignored = printable(", ".join(camera.other_depths))
                chosen = printable(camera.depth) or "no topic"
                self._warn(f"depth from {chosen}, not from {ignored}")

    def _open_files(self, files: Sequence[Path]) -> list[Path | McapFile]:
        """Find what can be read of each file.

        Raises:
            ValueError: Nothing can be read of any.
        """
        readable: list[Path | McapFile] = []
        errors = []
        for file in files:
            try:
                readable.append(self._open_file(file))
            except ValueError as error:
                errors.append(str(error))
        if not readable:
            raise ValueError(errors[0])
        for reason in errors:
            self._warn(reason)
        return readable

    def _open_file(self, file: Path) -> Path | McapFile:
        raw = self._decompress(file)
        opened: Path | McapFile = raw
        try:
            if raw.suffix == ".mcap":
                opened = McapFile(raw)
            with Reader([opened]):
                return opened
        except Exception as error:  # damaged bags raise all kinds of errors
            reason = one_line(error, with_type=False)
        if raw.suffix == ".mcap":
            with suppress(Exception):
                intact = McapFile.truncated(raw)
                with Reader([intact]) as reader:
                    if reader.message_count:
                        self._warn(
                            f"truncated ({intact.damage or reason}); using the readable part"
                        )
                        return intact
            hint = "no readable message in it"
        else:
            name = file.name
            hint = f"`sqlite3 {name} .recover | sqlite3 whole.db3` may recover the readable part"
        raise ValueError(f"{file}: not a complete ROS 2 bag ({reason}); {hint}")

    def _decompress(self, file: Path) -> Path:
        """Get a file that can be read as it is: itself, or a copy."""
        check_regular_file(file)
        target = Path(self._copies.name, file.name)
        if file.suffix in (".zstd", ".zst"):
            if not decompress_file(file, target.with_suffix("")):
                self._warn(f"{file.name} is truncated; using the readable part")
            return target.with_suffix("")
        if file.suffix not in BAG_SUFFIXES:
            kind = file.suffix[1:]
            raise ValueError(f"{file}: compressed with {kind}; accepted: zstd")
        log = file.with_name(f"{file.name}-wal")  # a killed recorder's newest messages
        if file.suffix == ".db3" and log.is_file() and log.stat().st_size:
            merge_log(file, target)
            return target
        return file

    def identity(self) -> dict[str, object]:
        """Get name and size of the bag, and the image topics in use."""
        return {
            "name": self.path.resolve().name,
            "bytes": sum(file.stat().st_size for file in list_storage_files(self.path)),
            "topics": [camera.image for camera in self.cameras],
        }

    def messages(self, wanted: Callable[[Connection], bool]) -> Iterator[tuple[Any, int, bytes]]:
        """Yield connection, time recorded (ns) and bytes of messages, ordered as the reader does.

        If the bag is damaged, the messages before the damage are yielded, with a warning.

        Args:
            wanted: selects connections.
        """
        if not any(wanted(each) for each in self.connections):
            return  # opening a bag without an index reads all of it
        with Reader(self._files) as reader:
            connections = [each for each in reader.connections if wanted(each)]
            messages = reader.messages(connections)
            last_ns = 0
            while True:
                # Damaged bags raise errors of the reader, the database or the compression.
                try:
                    connection, recorded_ns, data = next(messages)
                except StopIteration:
                    return
                except Exception as error:
                    self._warn(
                        f"damaged after {last_ns / 1e9:.3f} s "
                        f"({one_line(error, with_type=False)}); using the messages before"
                    )
                    return
                last_ns = recorded_ns
                yield connection, recorded_ns, data

    def _warn(self, warning: str) -> None:
        """Print a warning, once: a bag is read several times."""
        if warning not in self._warnings:
            self._warnings.add(warning)
            print(f"{self.path}: {warning}", file=sys.stderr)

    def images(self, every: int) -> Iterator[RecordedImage]:
        """Yield every n-th image of each camera, ordered by the time recorded."""
        roles: dict[str, list[tuple[str, Camera]]] = {}
        for camera in self.cameras:
            for role in ("image", "info", "depth", "depth_info"):
                if topic := getattr(camera, role):
                    roles.setdefault(topic, []).append((role, camera))
        pairings = {camera.name: DepthPairing(_CAPACITY) for camera in self.cameras}
        for camera in self.cameras:
            if camera.first_info is not None:
                pairings[camera.name].put_info(camera.first_info)
            if camera.first_depth_info is not None:
                pairings[camera.name].put_depth_info(camera.first_depth_info)
        n_images = dict.fromkeys(pairings, 0)
        times = _MatchTimes()
        transforms = self._read_static_transforms()
        newest_ns = 0  # stamp of an image, whose clock may be ahead of the recorder's
        pending: deque[RecordedImage] = deque()

        def wanted(connection: Connection) -> bool:
            return connection.topic in roles or (
                connection.msgtype == _TRANSFORMS and not _is_static(connection)
            )

        for connection, recorded_ns, data in self.messages(wanted):
            while pending and pending[0].recorded_ns + _WAIT_NS < recorded_ns:
                yield pending.popleft()
            if connection.msgtype == _TRANSFORMS:
                transforms.put(connection, data, max(recorded_ns, newest_ns))
                continue
            for role, camera in roles[connection.topic]:
                pairing = pairings[camera.name]
                if role == "image":
                    n_images[camera.name] += 1
                    if (n_images[camera.name] - 1) % every == 0:
                        image = _read_image(camera, connection, recorded_ns, data)
                        newest_ns = max(newest_ns, image.stamp_ns)
                        pending.append(_attach_depth(image, camera, pairing, transforms, times))
                else:
                    _put(pairing, camera, role, connection, data, recorded_ns, times)
        yield from pending

    def expect_images(self, every: int) -> int:
        """How many images there will be, as the bag says; 0 if it does not."""
        topics = {camera.image for camera in self.cameras}
        counts = [each.msgcount for each in self.connections if each.topic in topics]
        return sum(-(-count // every) for count in counts)

    def _read_static_transforms(self) -> _Transforms:
        """Read what holds for the whole recording, however late it was recorded."""
        transforms = _Transforms()
        if not any(camera.depth for camera in self.cameras):
            return transforms
        for connection, recorded_ns, data in self.messages(
            lambda each: each.msgtype == _TRANSFORMS and _is_static(each)
        ):
            transforms.put(connection, data, recorded_ns)
        return transforms


def _describe_encodings(files: Sequence[Path | McapFile], encodings: dict[str, str]) -> str:
    """Say why a bag without messages of ROS 2 cannot be read."""
    profiles = {file.profile for file in files if isinstance(file, McapFile)}
    if "ros1" in profiles or "ros1" in encodings.values():
        return "a recording of ROS 1; convert it to ROS 2 first"
    found = ", ".join(sorted(set(encodings.values())))
    return f"its messages are {printable(found)}, expected cdr (ROS 2)"


def _read_image(
    camera: Camera, connection: Connection, recorded_ns: int, data: bytes
) -> RecordedImage:
    try:
        message = deserialize(connection.msgtype, data)
        stamp_ns, frame_id = nanoseconds(message.header.stamp), message.header.frame_id
        if stamp_ns >= _END_NS:
            second_ns = 1_000_000_000
            stamp = f"{stamp_ns // second_ns}.{stamp_ns % second_ns:09}"
            raise ValueError(f"stamp {stamp} s; accepted: less than 2^31 s")
    except ValueError as error:
        return RecordedImage(
            camera=camera.name,
            stamp_ns=recorded_ns,
            frame_id="",
            recorded_ns=recorded_ns,
            decode=_raise_on_decode(f"{connection.topic}: {error}"),
            find_depth=no_depth,
        )
    compressed = hasattr(message, "format")

    def decode() -> Frame:
        rgb = rgb_from_compressed(message) if compressed else rgb_from_image(message)
        return Frame(rgb=rgb, stamp_ns=stamp_ns, frame_id=frame_id)

    encoded = None
    if compressed:
        contents = message.data.tobytes()
        encoded = (contents, ".png" if contents.startswith(b"\x89PNG") else ".jpg")
    return RecordedImage(
        camera=camera.name,
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        recorded_ns=recorded_ns,
        decode=decode,
        find_depth=no_depth,
        encoded=encoded,
    )


def _raise_on_decode(reason: str) -> Callable[[], Frame]:
    def decode() -> Frame:
        raise ValueError(reason)

    return decode


class _MatchTimes:
    """The times that messages are matched by.

    These are their stamps; for a message without one, or with the stamp of the message before, the
    time recorded.
    """

    def __init__(self) -> None:
        self._stamps: dict[tuple[str, str], int] = {}  # of the newest message

    def get(self, camera: Camera, role: str, stamp_ns: int, recorded_ns: int) -> int:
        """Return the time (ns) of the next message that a camera has in this role."""
        key = camera.name, role
        is_new = stamp_ns != self._stamps.get(key, 0)
        self._stamps[key] = stamp_ns
        return stamp_ns if is_new else recorded_ns


def _put(
    pairing: DepthPairing,
    camera: Camera,
    role: str,
    connection: Connection,
    data: bytes,
    recorded_ns: int,
    times: _MatchTimes,
) -> None:
    """Add depth or camera info to a pairing; malformed messages are skipped."""
    with suppress(ValueError):
        message = deserialize(connection.msgtype, data)
        if role == "depth_info":
            pairing.put_depth_info(message)
            return
        time_ns = times.get(camera, role, nanoseconds(message.header.stamp), recorded_ns)
        if role == "depth":
            pairing.put_depth(message, time_ns)
        else:
            pairing.put_info(message, time_ns)


class _Transforms:
    """The transforms of a recording, and why some were refused."""

    def __init__(self) -> None:
        self._buffer = TransformBuffer()
        self._refusals: dict[str, None] = {}  # in their order

    def put(self, connection: Connection, data: bytes, now_ns: int) -> None:
        """Add a message of transforms; what is malformed is refused."""
        try:
            refusals = put_transforms(
                self._buffer,
                deserialize(connection.msgtype, data).transforms,
                static=_is_static(connection),
                now_ns=now_ns,
            )
        except ValueError as error:
            refusals = [f"{connection.topic}: {error}"]
        for reason in refusals:
            if len(self._refusals) < _MAX_REFUSALS:
                self._refusals[reason] = None

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """Look up ``target_from_source`` (4, 4).

        Raises:
            TransformError: naming both frames, why there is none, and what was refused.
        """
        try:
            return self._buffer.lookup(target, source, stamp_ns)
        except TransformError as error:
            refused = "".join(f"; refused: {each}" for each in self._refusals)
            raise TransformError(
                f"no transform from {source!r} to {target!r}: {error}{refused}"
            ) from None


def _is_static(connection: Connection) -> bool:
    return connection.topic.endswith("tf_static")


def _attach_depth(
    image: RecordedImage,
    camera: Camera,
    pairing: DepthPairing,
    transforms: _Transforms,
    times: _MatchTimes,
) -> RecordedImage:
    """Let an image find its depth, including messages that are read later."""
    time_ns = times.get(camera, "image", image.stamp_ns, image.recorded_ns)
    is_stamp = time_ns == image.stamp_ns
    paired = pairing.pair(time_ns, TOLERANCE_NS if is_stamp else _RECORDED_TOLERANCE_NS)

    def lookup_transform(source: str) -> NDArray[np.float64]:
        return transforms.lookup(image.frame_id, source, image.stamp_ns)

    def find_depth(frame: Frame) -> Depth | None:
        depth = pairing.get_depth(
            frame,
            paired,
            rectified=is_rectified_topic(camera.name),
            depth_rectified=is_rectified_topic(camera.depth),
            lookup_transform=lookup_transform,
        )
        if depth is None and camera.depth:
            raise ValueError(f"no depth image of {printable(camera.depth)} can be read")
        return depth

    return replace(image, find_depth=find_depth)
