# SPDX-License-Identifier: Apache-2.0
"""Cameras, depth and camera infos of bags as drivers and simulators record them.

The bags hold the packaged image 0: the red mug is at TRUTH_M.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")

from rosbags.rosbag2 import StoragePlugin, Writer

from mllmseg_ros.cli import main
from mllmseg_ros.geometry.instances import InstanceSet
from mllmseg_ros.recording.bag import BagSource
from mllmseg_ros.recording.bag_types import (
    MessageType,
    header_message,
    image_message,
    serialize,
    typestore,
)
from mllmseg_ros.recording.inference_pass import infer_image
from mllmseg_ros.segmenter import Segmenter, Status
from mllmseg_ros.sim.samples import load_sample

SAMPLE = load_sample(0)
DEPTH_MM = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
TRUTH_M = (0.243, 0.132, 0.585)
MUG = 2  # its instance id
FIRST_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000
FRAME = "cam_optical"
EXPRESSION = "the red mug"

Message = Callable[[int], Any]  # of a stamp, ns


def raw(pixels: np.ndarray, encoding: str, frame_id: str = FRAME) -> Message:
    return lambda ns: image_message(
        np.ascontiguousarray(pixels), encoding, header_message(ns, frame_id)
    )


def compressed(data: bytes, form: str) -> Message:
    kind = MessageType("sensor_msgs/msg/CompressedImage")
    return lambda ns: kind(
        header=header_message(ns, FRAME), format=form, data=np.frombuffer(data, np.uint8)
    )


def info(
    *,
    K: np.ndarray = SAMPLE.K,
    stamp_ns: int | None = None,
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    frame_id: str = FRAME,
    **fields: Any,
) -> Message:
    region = MessageType("sensor_msgs/msg/RegionOfInterest")(
        x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3], do_rectify=False
    )
    values = {"width": 640, "height": 480, "distortion_model": "plumb_bob", **fields}
    values = {k: np.array(v, float) if k in ("d", "p") else v for k, v in values.items()}
    kind = MessageType("sensor_msgs/msg/CameraInfo")
    return lambda ns: kind(
        header=header_message(ns if stamp_ns is None else stamp_ns, frame_id),
        k=np.array(K, float).ravel(),
        roi=region,
        **values,
    )


COLOR, DEPTH = raw(SAMPLE.rgb, "rgb8"), raw(DEPTH_MM, "16UC1")


def write(path: Path, topics: dict[str, Message], n: int = 1) -> Path:
    """Record a message of each topic per step."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for index in range(n):
            ns = FIRST_NS + index * STEP_NS
            for topic, make in topics.items():
                message = make(ns)
                if topic not in connections:
                    connections[topic] = writer.add_connection(
                        topic, message.__msgtype__, typestore=typestore()
                    )
                writer.write(connections[topic], ns, serialize(message))
    return path


@pytest.fixture
def ask(tmp_path: Path, embedded: Segmenter) -> Callable[..., InstanceSet]:
    """Returns a function that records topics, and segments the first image of the bag."""

    def ask(*topics: str, **messages: Message) -> InstanceSet:
        given = {"/cam/image_raw": COLOR, "/cam/camera_info": info(), "/cam/depth": DEPTH}
        for name, message in messages.items():
            topic = {"image": "/cam/image_raw", "info": "/cam/camera_info", "depth": "/cam/depth"}
            given[topic.get(name, name)] = message
        for topic in topics:
            del given[topic]
        source = BagSource(write(tmp_path / "bag", given))
        (camera,) = source.cameras
        assert camera.name == "/cam/image_raw"
        _, result = infer_image([embedded], next(source.images(1)), [EXPRESSION])
        assert result.error == ""
        (instance_set,) = result.instance_sets
        assert instance_set.instances[0].segmentation.status is Status.FOUND
        return instance_set

    return ask


def check(
    instance_set: InstanceSet, truth_m: tuple[float, ...] = TRUTH_M, atol_m: float = 0.0012
) -> None:
    assert instance_set.note == ""
    position = instance_set.instances[0].position
    assert position is not None
    np.testing.assert_allclose(position.mean, truth_m, atol=atol_m)


def check_refused(instance_set: InstanceSet, reason: str) -> None:
    (instance, *_) = instance_set.instances
    assert instance.position is None
    assert instance_set.note.startswith(f"no position: {reason}")
    truth = SAMPLE.instances == MUG
    mask = instance.segmentation.mask
    assert (mask & truth).sum() > 0.8 * (mask | truth).sum()


def test_plain(ask: Callable[..., InstanceSet]) -> None:
    check(ask())


def half(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[::2, ::2])


def of_half_size() -> dict[str, Message]:
    rgb = cv2.resize(SAMPLE.rgb, (320, 240), interpolation=cv2.INTER_AREA)
    return {"image": raw(rgb, "rgb8"), "depth": raw(half(DEPTH_MM), "16UC1")}


def test_binned_images(ask: Callable[..., InstanceSet]) -> None:
    check(ask(info=info(binning_x=2, binning_y=2), **of_half_size()))


def test_a_region_of_the_sensor(ask: Callable[..., InstanceSet]) -> None:
    x, y, width, height = roi = (200, 120, 440, 360)
    part = np.s_[y : y + height, x : x + width]
    image, depth = raw(SAMPLE.rgb[part], "rgb8"), raw(DEPTH_MM[part], "16UC1")
    # The model sees another image, and its mask differs a little.
    check(ask(image=image, depth=depth, info=info(roi=roi)), atol_m=0.005)


def test_info_of_twice_the_size(ask: Callable[..., InstanceSet]) -> None:
    K = np.diag((2.0, 2.0, 1.0)) @ SAMPLE.K
    check(ask(info=info(K=K, width=1280, height=960)))


def test_info_of_another_size(ask: Callable[..., InstanceSet]) -> None:
    check_refused(
        ask(info=info(width=1280, height=720)),
        "camera_info is for 1280 x 720, the image is 640 x 480, which no binning explains",
    )


@pytest.mark.parametrize("n", [4, 5, 8])
@pytest.mark.parametrize("model", ["equidistant", "fisheye"])
def test_a_fisheye_lens_with_padded_coefficients(
    model: str, n: int, ask: Callable[..., InstanceSet]
) -> None:
    d = [1e-4, *[0.0] * (n - 1)]
    check(ask(info=info(distortion_model=model, d=d)), (0.264, 0.143, 0.585))


@pytest.mark.parametrize(
    ("model", "d", "reason"),
    [
        ("xyz", [1e-4, 0, 0, 0], "unknown distortion model 'xyz'; accepted: plumb_bob, rational"),
        ("equidistant", [1e-4] * 5, "camera_info has distortion coefficients"),
        ("plumb_bob", [1e-4] * 6, "camera_info has distortion coefficients"),
    ],
)
def test_an_unknown_lens_removes_only_the_position(
    model: str, d: list[float], reason: str, ask: Callable[..., InstanceSet]
) -> None:
    check_refused(ask(info=info(distortion_model=model, d=d)), reason)


@pytest.mark.parametrize("divisor", [(1, 1), (640, 480)])
def test_a_K_of_normalised_coordinates_is_refused(
    divisor: tuple[int, int], ask: Callable[..., InstanceSet]
) -> None:
    K = SAMPLE.K.copy()
    K[0, 2], K[1, 2] = K[0, 2] / 640, K[1, 2] / 480
    K[0, 0], K[1, 1] = K[0, 0] / divisor[0], K[1, 1] / divisor[1]
    check_refused(ask(info=info(K=K)), "camera_info has its principal point at (0.4")


def test_P_where_K_is_0(ask: Callable[..., InstanceSet]) -> None:
    P = np.hstack([SAMPLE.K, np.zeros((3, 1))]).ravel()
    check(ask(info=info(K=np.zeros((3, 3)), p=P)))


def test_aligned_depth_needs_no_info_of_its_own(ask: Callable[..., InstanceSet]) -> None:
    moved = {"/cam/aligned/image": DEPTH, "/cam/aligned/camera_info": info(K=np.zeros((3, 3)))}
    check(ask("/cam/depth", **moved))


def test_aligned_depth_with_the_info_of_the_depth_camera(ask: Callable[..., InstanceSet]) -> None:
    K = [[432.8, 0, 322], [0, 432.8, 239.4], [0, 0, 1]]
    of_depth = info(K=np.array(K), frame_id="depth_optical")
    moved = {"/cam/aligned/image": DEPTH, "/cam/aligned/camera_info": of_depth}
    check(ask("/cam/depth", **moved))


@pytest.mark.parametrize("off_ns", [40_000_000, -60_000_000_000, 1_000_000_000 - FIRST_NS])
def test_an_info_of_another_stamp(off_ns: int, ask: Callable[..., InstanceSet]) -> None:
    check(ask(info=info(stamp_ns=FIRST_NS + off_ns)))


def test_an_info_below_its_image(ask: Callable[..., InstanceSet]) -> None:
    check(ask("/cam/camera_info", **{"/cam/image_raw/camera_info": info()}))


@pytest.mark.parametrize("slashed", ["image", "depth", "info"])
def test_a_leading_slash_of_a_frame_makes_no_other_frame(
    slashed: str, ask: Callable[..., InstanceSet]
) -> None:
    frame = f"/{FRAME}"
    topics = {
        "image": raw(SAMPLE.rgb, "rgb8", frame),
        "depth": raw(DEPTH_MM, "16UC1", frame),
        "info": info(stamp_ns=1_000_000_000, frame_id=frame),
    }
    check(ask(**{slashed: topics[slashed]}))


def test_an_info_that_is_recorded_once_and_late(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, make, ns in (
            ("/cam/image_raw", COLOR, FIRST_NS),
            ("/cam/depth", DEPTH, FIRST_NS),
            ("/cam/camera_info", info(), FIRST_NS + 10 * STEP_NS),
        ):
            message = make(ns)
            connection = writer.add_connection(topic, message.__msgtype__, typestore=typestore())
            writer.write(connection, ns, serialize(message))
    image = next(BagSource(path).images(1))
    assert image.find_depth(image.decode()) is not None


def test_without_any_info(ask: Callable[..., InstanceSet]) -> None:
    check_refused(ask("/cam/camera_info"), "no camera_info has arrived")


def png(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


SATURATED = np.where(np.random.default_rng(0).random(DEPTH_MM.shape) < 0.6, 65535, DEPTH_MM)


@pytest.mark.parametrize(
    ("topic", "depth"),
    [
        ("/cam/depth", raw(SATURATED.astype(np.uint16), "16UC1")),
        ("/cam/depth", raw(DEPTH_MM, "mono16")),
        ("/cam/depth", raw(SAMPLE.depth_m.astype(np.float32), "32FC1")),
        ("/cam/depth/compressed", compressed(png(DEPTH_MM), "16UC1; png compressed ")),
        ("/cam/depth/compressed", compressed(png(DEPTH_MM), "png")),
        (
            "/cam/depth/compressedDepth",
            compressed(bytes(12) + png(DEPTH_MM), "16UC1; compressedDepth png"),
        ),
    ],
    ids=["65535", "mono16", "32FC1", "compressed", "compressed, png", "compressedDepth"],
)
def test_depth_of_every_kind(topic: str, depth: Message, ask: Callable[..., InstanceSet]) -> None:
    check(ask("/cam/depth", **{topic: depth}) if topic != "/cam/depth" else ask(depth=depth))


def rvl(stored: np.ndarray) -> bytes:
    """RVL of an image without zeros: one run."""
    values = stored.ravel().astype(np.int64)
    differences = np.diff(values, prepend=0)
    numbers = [0, len(values), *((differences << 1) ^ (differences >> 63)).tolist()]
    nibbles: list[int] = []
    for number in numbers:
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles, np.int64).reshape(-1, 8) @ (16 ** np.arange(7, -1, -1))
    height, width = stored.shape
    return bytes(12) + struct.pack("<ii", width, height) + words.astype("<u4").tobytes()


def test_depth_in_rvl(ask: Callable[..., InstanceSet]) -> None:
    assert DEPTH_MM.all()
    depth = compressed(rvl(DEPTH_MM), "16UC1; compressedDepth rvl")
    check(ask("/cam/depth", **{"/cam/depth/compressedDepth": depth}))


JPEG = bytes(cv2.imencode(".jpg", SAMPLE.rgb[..., ::-1])[1])


@pytest.mark.parametrize(
    ("topic", "depth", "reason"),
    [
        (
            "/cam/depth",
            raw(SAMPLE.depth_m.astype(np.float64), "64FC1"),
            "depth encoding 64FC1; acc",
        ),
        ("/cam/depth", raw(DEPTH_MM.astype(np.int32), "32SC1"), "depth encoding 32SC1; accepted"),
        ("/cam/depth", raw((DEPTH_MM // 16).astype(np.uint8), "8UC1"), "depth encoding 8UC1; acc"),
        (
            "/cam/depth",
            raw((SAMPLE.depth_m * 1000).astype(np.float32), "32FC1"),
            "32FC1 depth with a median of 737 can only be millimetres",
        ),
        (
            "/cam/depth",
            raw(np.round(SAMPLE.depth_m).astype(np.uint16), "16UC1"),
            "16UC1 depth with a median of 1 can only be metres; accepted: 16UC1 in millimetres",
        ),
        (
            "/cam/depth/compressed",
            compressed(JPEG, "16UC1; jpeg compressed "),
            "depth as JPEG is not usable",
        ),
        (
            "/cam/depth/compressedDepth",
            compressed(bytes(12) + b"no image", "16UC1; compressedDepth png"),
            "compressed depth of 8 bytes is not a valid PNG",
        ),
    ],
    ids=["64FC1", "32SC1", "8UC1", "millimetres", "metres", "JPEG", "broken"],
)
def test_unusable_depth_is_not_a_camera_and_is_reported(
    topic: str, depth: Message, reason: str, ask: Callable[..., InstanceSet]
) -> None:
    found = ask("/cam/depth", **{topic: depth}) if topic != "/cam/depth" else ask(depth=depth)
    check_refused(found, reason)
    assert " object at 0x" not in found.note


ON_MUG = SAMPLE.instances == MUG


def test_a_target_without_depth_gets_no_position_from_its_surroundings(
    ask: Callable[..., InstanceSet],
) -> None:
    hole = np.where(ON_MUG, 0, DEPTH_MM).astype(np.uint16)
    reason = "3 % of the mask has depth, inside its rim 0.1 %, at least 2 % is needed there"
    check_refused(ask(depth=raw(hole, "16UC1")), reason)


@pytest.mark.parametrize("whole_image", [True, False])
def test_sparse_depth_all_over_a_target(whole_image: bool, ask: Callable[..., InstanceSet]) -> None:
    """One column in 20, as of a sensor of lines; or of the target alone, which is dark."""
    dropped = (whole_image | ON_MUG) & (np.arange(640)[None] % 20 != 0)
    found = ask(depth=raw(np.where(dropped, 0, DEPTH_MM).astype(np.uint16), "16UC1"))
    assert len(found.instances) == 1
    check(found, atol_m=0.01)


def test_depth_that_can_be_decoded_is_preferred(ask: Callable[..., InstanceSet]) -> None:
    check(ask(**{"/cam/a_depth/compressed": compressed(JPEG, "16UC1; jpeg compressed ")}))


P_OF_K = np.hstack([SAMPLE.K, np.zeros((3, 1))]).ravel()
LENS = [0.1, -0.2, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["image_rect", "image_rect_color", "rect/image"])
def test_of_rectified_images_P_is_used_without_D(
    name: str, tmp_path: Path, embedded: Segmenter
) -> None:
    """K and D are those of the lens, which the images no longer show."""
    folder = f"/cam/{name}".rpartition("/")[0]
    of_lens = info(K=np.diag((1.2, 1.2, 1.0)) @ SAMPLE.K, d=LENS, p=P_OF_K)
    topics = {f"/cam/{name}": COLOR, f"{folder}/camera_info": of_lens, "/cam/depth": DEPTH}
    image = next(BagSource(write(tmp_path / "bag", topics)).images(1))
    _, result = infer_image([embedded], image, [EXPRESSION])
    check(result.instance_sets[0])


def test_of_raw_images_K_and_D_are_used(ask: Callable[..., InstanceSet]) -> None:
    found = ask(info=info(d=[-0.35, 0.0, 0.0, 0.0, 0.0], p=P_OF_K))
    position = found.instances[0].position
    assert position is not None
    assert position.mean[0] > TRUTH_M[0] + 0.005


OTHER = np.full(DEPTH_MM.shape, 30_000, np.uint16)


@pytest.mark.parametrize(
    ("name", "frame_id"),
    [
        ("/cam/confidence/confidence_map", FRAME),
        ("/cam/depth/confidence", FRAME),
        ("/cam/disparity/image", FRAME),
        ("/cam/a_thermal/image_raw", FRAME),
        ("/thermal/image_raw", FRAME),
        ("/thermal/image_raw", "thermal"),
        ("/cam/infra1/image_rect_raw", FRAME),
        ("/cam/ir/image", FRAME),
        ("/cam/image_labels", FRAME),
        ("/cam/a_radar/image", FRAME),
    ],
)
def test_topics_named_otherwise_are_not_depth(
    name: str, frame_id: str, ask: Callable[..., InstanceSet], capfd: pytest.CaptureFixture[str]
) -> None:
    other = raw(OTHER, "16UC1", frame_id)
    check(ask("/cam/depth", **{name: other, "/sensor/depth/image": DEPTH}))
    assert f"depth from /sensor/depth/image, not from {name}\n" in capfd.readouterr().err


@pytest.mark.parametrize("frame_id", [FRAME, "thermal"])
def test_temperatures_are_not_depth_even_without_another_topic(
    frame_id: str, ask: Callable[..., InstanceSet], capfd: pytest.CaptureFixture[str]
) -> None:
    found = ask("/cam/depth", **{"/thermal/image_raw": raw(OTHER, "16UC1", frame_id)})
    assert found.instances[0].position is None
    assert "depth from no topic, not from /thermal/image_raw\n" in capfd.readouterr().err


def test_depth_of_another_camera_by_name(ask: Callable[..., InstanceSet]) -> None:
    check(ask("/cam/depth", **{"/cam/aligned_depth_to_infra1/image_raw": DEPTH}))


@pytest.mark.parametrize("step", [1, 2])
def test_depth_of_another_shape_is_not_stretched(
    step: int, ask: Callable[..., InstanceSet]
) -> None:
    cut = np.ascontiguousarray(DEPTH_MM[60:420:step, ::step])
    check_refused(
        ask(depth=raw(cut, "16UC1")),
        f"the depth image is {640 // step} x {360 // step}, the colour image 640 x 480, so "
        "their views differ; publish depth/camera_info",
    )


def test_smaller_depth_of_the_same_shape(ask: Callable[..., InstanceSet]) -> None:
    check(ask(depth=raw(half(DEPTH_MM), "16UC1")), atol_m=0.003)


def test_smaller_depth_than_its_info_says(ask: Callable[..., InstanceSet]) -> None:
    topics = {"/cam/depth/image": raw(half(DEPTH_MM), "16UC1"), "/cam/depth/camera_info": info()}
    check(ask("/cam/depth", **topics), atol_m=0.003)


def test_a_grey_image_that_shows_depth_is_named(ask: Callable[..., InstanceSet]) -> None:
    shown = raw((SAMPLE.depth_m * 50).astype(np.uint8), "mono8")
    check_refused(ask(depth=shown), "depth encoding mono8; accepted: 16UC1, mono16, 32FC1")


def record(path: Path, messages: list[tuple[str, int, Any]]) -> BagSource:
    """A bag of messages (topic, time recorded ns, message)."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for topic, ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, message.__msgtype__, typestore=typestore()
                )
            writer.write(connections[topic], ns, serialize(message))
    return BagSource(path)


def one_image() -> list[tuple[str, int, Any]]:
    topics = {"/cam/image_raw": COLOR, "/cam/camera_info": info(), "/cam/depth": DEPTH}
    return [(topic, FIRST_NS, make(FIRST_NS)) for topic, make in topics.items()]


def test_a_first_depth_image_that_is_empty(tmp_path: Path, embedded: Segmenter) -> None:
    empty = DEPTH(FIRST_NS - STEP_NS)
    empty.encoding, empty.height, empty.width, empty.step = "", 0, 0, 0
    empty.data = np.zeros(0, np.uint8)
    source = record(tmp_path / "bag", [("/cam/depth", FIRST_NS - STEP_NS, empty), *one_image()])
    _, result = infer_image([embedded], next(source.images(1)), [EXPRESSION])
    check(result.instance_sets[0])


def static(stamp_ns: int, frame_id: str, child: str, quaternion: tuple[float, ...]) -> Any:
    kinds = {n: MessageType(f"geometry_msgs/msg/{n}") for n in ("Vector3", "Quaternion")}
    transform = MessageType("geometry_msgs/msg/Transform")(
        translation=kinds["Vector3"](x=0.0, y=0.0, z=0.0),
        rotation=kinds["Quaternion"](**dict(zip("xyzw", quaternion, strict=True))),
    )
    stamped = MessageType("geometry_msgs/msg/TransformStamped")(
        header=header_message(stamp_ns, frame_id), child_frame_id=child, transform=transform
    )
    return MessageType("tf2_msgs/msg/TFMessage")(transforms=[stamped])


@pytest.mark.parametrize("late_ns", [0, 100 * STEP_NS])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_static_transform_holds_whenever_it_was_recorded(
    slash: str, late_ns: int, tmp_path: Path, embedded: Segmenter
) -> None:
    transform = static(FIRST_NS + late_ns, f"{slash}{FRAME}", "depth", (0.0, 0.0, 0.0, 1.0))
    messages = [each for each in one_image() if each[0] != "/cam/depth"]
    messages += [
        ("/cam/depth/image", FIRST_NS, raw(DEPTH_MM, "16UC1", f"{slash}depth")(FIRST_NS)),
        ("/cam/depth/camera_info", FIRST_NS, info(frame_id="depth")(FIRST_NS)),
        ("/tf_static", FIRST_NS + late_ns, transform),
    ]
    source = record(tmp_path / "bag", messages)
    _, result = infer_image([embedded], next(source.images(1)), [EXPRESSION])
    check(result.instance_sets[0])


def test_a_transform_that_is_refused_is_named(tmp_path: Path, embedded: Segmenter) -> None:
    messages = [each for each in one_image() if each[0] != "/cam/depth"]
    messages += [
        ("/cam/depth/image", FIRST_NS, raw(DEPTH_MM, "16UC1", "depth")(FIRST_NS)),
        ("/cam/depth/camera_info", FIRST_NS, info(frame_id="depth")(FIRST_NS)),
        ("/tf_static", FIRST_NS, static(FIRST_NS, FRAME, "depth", (0.0, 0.0, 0.0, 0.0))),
    ]
    source = record(tmp_path / "bag", messages)
    _, result = infer_image([embedded], next(source.images(1)), [EXPRESSION])
    check_refused(result.instance_sets[0], "no transform from 'depth' to 'cam_optical'")
    refused = "refused: frame 'depth' in 'cam_optical' has quaternion [0.0, 0.0, 0.0, 0.0]"
    assert refused in result.instance_sets[0].note


def test_a_run_continues_when_the_size_of_the_images_changes(tmp_path: Path) -> None:
    small = of_half_size()
    messages: list[tuple[str, int, Any]] = []
    for index in range(3):
        ns = FIRST_NS + index * STEP_NS
        color, depth = (small["image"], small["depth"]) if index == 1 else (COLOR, DEPTH)
        of_size = info(binning_x=2, binning_y=2) if index == 1 else info()
        messages += [
            ("/cam/image_raw", ns, color(ns)),
            ("/cam/camera_info", ns, of_size(ns)),
            ("/cam/depth", ns, depth(ns)),
        ]
    record(tmp_path / "bag", messages)
    out = tmp_path / "out"
    assert main(["annotate", str(tmp_path / "bag"), EXPRESSION, "-o", str(out)]) == 0
    with (out / "answers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["FOUND"] * 3
    for row in (rows[0], rows[2]):
        at = [float(row[f"{axis}_m"]) for axis in "xyz"]
        np.testing.assert_allclose(at, TRUTH_M, atol=0.0012)


@pytest.mark.parametrize("stamp_ns", [0, 5 * STEP_NS])
def test_stamps_that_never_change_are_paired_by_the_time_recorded(
    stamp_ns: int, tmp_path: Path, embedded: Segmenter
) -> None:
    nearer = {FIRST_NS: DEPTH_MM, FIRST_NS + STEP_NS: (DEPTH_MM // 2).astype(np.uint16)}
    topics = {
        "/cam/image_raw": lambda _: COLOR(stamp_ns),
        "/cam/camera_info": lambda _: info()(stamp_ns),
        "/cam/depth": lambda ns: raw(nearer[ns], "16UC1")(stamp_ns),
    }
    images = list(BagSource(write(tmp_path / "bag", topics, 2)).images(1))
    z = []
    for image in images:
        _, result = infer_image([embedded], image, [EXPRESSION])
        z.append(result.instance_sets[0].instances[0].position.mean[2])
    np.testing.assert_allclose(z, [0.585, 0.292], atol=0.001)


I420 = cv2.cvtColor(SAMPLE.rgb, cv2.COLOR_RGB2YUV_I420)


def planar(pixels: np.ndarray, encoding: str) -> Message:
    def make(ns: int) -> Any:
        message = raw(pixels, encoding)(ns)
        message.height, message.step = 480, 640
        return message

    return make


@pytest.mark.parametrize(
    "image",
    [
        raw(SAMPLE.rgb[..., ::-1], "8UC3"),
        raw(cv2.cvtColor(SAMPLE.rgb, cv2.COLOR_RGB2BGRA), "8UC4"),
        raw(SAMPLE.rgb.astype(np.uint16) * 257, "rgb16"),
        planar(I420, "yuv420"),
        planar(np.vstack([I420[:480], I420[480:].reshape(2, -1).T.reshape(240, 640)]), "nv12"),
    ],
    ids=["8UC3", "8UC4", "rgb16", "yuv420", "nv12"],
)
def test_encodings(image: Message, ask: Callable[..., InstanceSet]) -> None:
    found = ask(image=image)
    check(found)
    np.testing.assert_allclose(
        found.instances[0].segmentation.box_xyxy, (480, 291, 640, 441), atol=1
    )


def bayer(pixels: np.ndarray) -> np.ndarray:
    mosaic = pixels[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = pixels[::2, ::2, 0], pixels[1::2, 1::2, 2]
    return mosaic.astype(np.uint16)


@pytest.mark.parametrize("scale", [4, 16, 257])
@pytest.mark.parametrize("kind", ["bayer", "rgb16", "png"])
def test_bits_that_a_camera_leaves_0(
    kind: str, scale: int, ask: Callable[..., InstanceSet]
) -> None:
    """10, 12 and all of 16 bits."""
    if kind == "bayer":
        image = raw(bayer(SAMPLE.rgb) * np.uint16(scale), "bayer_rggb16")
    elif kind == "rgb16":
        image = raw(SAMPLE.rgb.astype(np.uint16) * np.uint16(scale), "rgb16")
    else:
        bgr = SAMPLE.rgb[..., ::-1].astype(np.uint16) * np.uint16(scale)
        check(ask("/cam/image_raw", **{"/cam/image_raw/compressed": compressed(png(bgr), "png")}))
        return
    check(ask(image=image), atol_m=0.003)


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_compressed_mosaic_has_colours(form: str, ask: Callable[..., InstanceSet]) -> None:
    """The compressed transport leaves the images of a Bayer pattern as they are."""
    code = ".png" if form == "png" else ".jpg"
    data = bytes(cv2.imencode(code, bayer(SAMPLE.rgb).astype(np.uint8))[1])
    image = compressed(data, f"bayer_rggb8; {form} compressed ")
    check(ask("/cam/image_raw", **{"/cam/image_raw/compressed": image}), atol_m=0.003)


def test_a_compressed_colour_image_is_not_a_mosaic(ask: Callable[..., InstanceSet]) -> None:
    image = compressed(JPEG, "bayer_rggb8; jpeg compressed bgr8")
    check(ask("/cam/image_raw", **{"/cam/image_raw/compressed": image}))


@pytest.mark.parametrize(
    ("topics", "asked", "reason"),
    [
        (
            {"/cam/image_raw": raw(SAMPLE.rgb, "xyz")},
            (),
            "no topic with colour images; /cam/image_raw has encoding xyz; accepted: rgb8, bgr8,",
        ),
        (
            {"/a/image": raw(SAMPLE.rgb, "xyz"), "/b/image": COLOR},
            ("--topics", "/a/image"),
            "no colour images on /a/image; /a/image has encoding xyz; accepted: rgb8, bgr8,",
        ),
        (
            {"/cam/depth": DEPTH, "/cam/image_raw": COLOR},
            ("--topics", "/cam/depth"),
            "no colour images on /cam/depth; /cam/depth has depth",
        ),
        (
            {"/cam/image_raw/compressed": compressed(b"\0\0\0\1\x67", "h264")},
            (),
            "none of its 1 images can be read: compressed image of format 'h264' with 5 bytes",
        ),
    ],
)
def test_what_cannot_be_read_is_named_and_the_run_fails(
    topics: dict[str, Message],
    asked: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bag = write(tmp_path / "bag", topics)
    out = tmp_path / "out"
    assert main(["annotate", str(bag), EXPRESSION, *asked, "-o", str(out), "--device", "cpu"]) == 1
    assert reason in capfd.readouterr().err
    assert not (out / "answers.csv").exists()


def test_one_bag_gives_the_same_bytes_twice_whatever_is_broken_in_it(tmp_path: Path) -> None:
    broken = compressed(bytes(12) + b"no image", "16UC1; compressedDepth png")
    topics = {
        "/cam/image_raw": COLOR,
        "/cam/camera_info": info(),
        "/cam/depth/compressedDepth": broken,
    }
    bag = write(tmp_path / "bag", topics)
    tables = []
    for name in ("first", "second"):
        out = tmp_path / name
        assert main(["annotate", str(bag), EXPRESSION, "-o", str(out), "--device", "cpu"]) == 0
        tables.append((out / "answers.csv").read_bytes())
    assert tables[0] == tables[1]
    (row,) = csv.DictReader(tables[0].decode().splitlines())
    assert "not a valid PNG" in row["note"]
