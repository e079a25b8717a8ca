# SPDX-License-Identifier: Apache-2.0
"""Bags that were renamed, edited, compressed, killed or written by other recorders."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")

from backports import zstd
from recordings import (
    DISTANCE_M,
    FIRST_NS,
    FRAME_ID,
    LAST_NS,
    STEP_NS,
    behind,
    sample_frames,
    write_bag,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from mllmseg_ros.cli import main
from mllmseg_ros.recording.bag_types import (
    MessageType,
    header_message,
    image_message,
    serialize,
    typestore,
)
from mllmseg_ros.recording.mcap_file import McapFile
from mllmseg_ros.recording.source import open_source

N = 3
FRAMES = sample_frames(N, width=64)
MAGIC = b"\x89MCAP0\r\n"
IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"


def check(path: Path, n: int = N, *, depth: bool = True, last_depth: bool = False) -> None:
    """Check stamps, pixels and depth of a bag from write_bag()."""
    images = list(open_source(path).images(1))
    assert [each.stamp_ns for each in images] == [FIRST_NS + i * STEP_NS for i in range(n)]
    for index, image in enumerate(images):
        frame = image.decode()
        np.testing.assert_array_equal(frame.rgb, FRAMES[index])
        if last_depth or (depth and index < N - 1):
            found = image.find_depth(frame)
            assert found is not None
            assert np.nanmedian(found.metres) == pytest.approx(DISTANCE_M, abs=1e-3)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        open_source(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def storage_file(folder: Path) -> Path:
    (file,) = (each for each in folder.iterdir() if each.name != "metadata.yaml")
    return file


def compress(file: Path, suffix: str = ".zstd") -> Path:
    target = file.with_name(file.name + suffix)
    target.write_bytes(zstd.compress(file.read_bytes()))
    return target


@pytest.fixture(params=["mcap", "sqlite3"])
def bag(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_bag(tmp_path / "bag", FRAMES, storage=request.param)


def test_qos_that_differs_between_metadata_and_storage(bag: Path) -> None:
    metadata = bag / "metadata.yaml"
    text = metadata.read_text(encoding="utf-8")
    edited = text.replace("offered_qos_profiles: ''", "offered_qos_profiles: '- history: 1'")
    assert edited != text
    metadata.write_text(edited, encoding="utf-8")
    check(bag)


@pytest.mark.parametrize("suffix", [".zstd", ".zst"])
def test_a_compressed_file_without_metadata(bag: Path, suffix: str) -> None:
    file = storage_file(bag)
    compressed = compress(file, suffix)
    (bag / "metadata.yaml").unlink()
    check(bag)  # both are one recording
    file.unlink()
    check(bag)
    check(compressed)


def test_a_compressed_file_that_is_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 480, 640, 3), np.uint8)
    compressed = compress(storage_file(write_bag(tmp_path / "bag", list(noise), depth=False)))
    cut = tmp_path / compressed.name
    cut.write_bytes(compressed.read_bytes()[: compressed.stat().st_size * 6 // 10])
    images = list(open_source(cut).images(1))
    assert 0 < len(images) < 8
    np.testing.assert_array_equal(images[0].decode().rgb, noise[0])
    assert f"{cut.name} is truncated; using the readable part" in capsys.readouterr().err


def test_compressed_messages_without_metadata(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", FRAMES, storage="sqlite3"))
    with sqlite3.connect(file) as database:
        database.create_function("compressed", 1, zstd.compress)
        database.execute("UPDATE messages SET data = compressed(data)")
    database.close()
    check(file)


def test_types_whose_definition_the_recorder_did_not_find(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", FRAMES, storage="sqlite3"))
    with sqlite3.connect(file) as database:
        database.execute(
            "UPDATE message_definitions SET encoding = 'unknown', encoded_message_definition = ''"
        )
    database.close()
    check(file)
    out = tmp_path / "out"
    arguments = ["annotate", str(file), "the red mug", "-o", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    check(out / "bag")


def test_a_renamed_storage_file(bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = storage_file(bag)
    renamed = file.rename(bag / f"walk{file.suffix}")
    check(bag)
    assert f"metadata.yaml names {file.name}, reading {renamed.name}" in capsys.readouterr().err


@pytest.mark.parametrize("length", [0, 300])
def test_incomplete_metadata(bag: Path, length: int, capsys: pytest.CaptureFixture[str]) -> None:
    metadata = bag / "metadata.yaml"
    metadata.write_bytes(metadata.read_bytes()[:length])
    check(bag)
    assert capsys.readouterr().err.count("metadata.yaml is not complete") == 1


def test_a_missing_split(bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata = bag / "metadata.yaml"
    name = storage_file(bag).name
    text = metadata.read_text(encoding="utf-8")
    edited = text.replace(f"  - {name}\n", f"  - {name}\n  - second{name}\n", 1)
    assert edited != text
    metadata.write_text(edited, encoding="utf-8")
    check(bag)
    assert f"second{name} is missing" in capsys.readouterr().err


def write_splits(folder: Path, storage: str, names: Sequence[str]) -> list[Path]:
    """Write a file per image, all under the metadata.yaml of the first."""
    files = []
    for index, name in enumerate(names):
        frames = FRAMES[index : index + 1]
        part = write_bag(folder / "part", frames, storage=storage, first=index)
        file = storage_file(part)
        files.append(file.rename(folder / f"{name}{file.suffix}"))
        if index == 0:
            text = (part / "metadata.yaml").read_text(encoding="utf-8")
            (folder / "metadata.yaml").write_text(text.replace(file.name, files[0].name))
        shutil.rmtree(part)
    return files


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_splits_without_metadata(
    tmp_path: Path, storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_splits(tmp_path, storage, ["run_9", "run_10", "run_11"])
    (tmp_path / "metadata.yaml").unlink()
    check(tmp_path, depth=False)
    assert "no usable metadata.yaml, reading all 3 storage files" in capsys.readouterr().err


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_splits_that_metadata_does_not_name(
    tmp_path: Path, storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_splits(tmp_path, storage, ["run_0", "run_1", "run_2"])
    check(tmp_path, depth=False)
    err = capsys.readouterr().err
    assert "metadata.yaml does not name 2 of 3 splits, reading all" in err
    other = files[2].rename(tmp_path / f"kitchen{files[2].suffix}")
    check(tmp_path, 2, depth=False)
    assert f"{other.name} ignored: metadata.yaml does not name it" in capsys.readouterr().err


def test_files_of_several_recordings_are_not_mixed(tmp_path: Path) -> None:
    write_splits(tmp_path, "mcap", ["walk_0", "kitchen_1"])
    (tmp_path / "metadata.yaml").unlink()
    assert refusal(tmp_path) == (
        "2 storage files of different recordings without metadata.yaml; name one of them"
    )


@pytest.mark.parametrize("has_metadata", [True, False])
def test_files_of_other_systems_beside_it(bag: Path, has_metadata: bool) -> None:
    for file in list(bag.iterdir()):
        (bag / f"._{file.name}").write_bytes(b"\0\x05\x16\x07" + bytes(100))
    if not has_metadata:
        (bag / "metadata.yaml").unlink()
    check(bag)


@pytest.mark.parametrize("name", ["run #3", "run 50%25", "what?", "run.bag", "a b ü"])
def test_names_of_folders(name: str, bag: Path, tmp_path: Path) -> None:
    folder = bag.rename(tmp_path / name)
    check(folder)
    out = tmp_path / f"out of {name}"
    arguments = ["annotate", str(folder), "the red mug", "-o", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    assert {each.name for each in tmp_path.iterdir()} == {name, out.name}
    check(out / "bag")


def test_a_killed_recorders_log(tmp_path: Path) -> None:
    """The newest messages of a database may be in its write-ahead log alone."""
    source = storage_file(write_bag(tmp_path / "bag", FRAMES[:2], storage="sqlite3"))
    database = sqlite3.connect(source)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    message = image_message(FRAMES[2], "rgb8", header_message(FIRST_NS + 2 * STEP_NS, FRAME_ID))
    database.execute(
        "INSERT INTO messages (topic_id, timestamp, data) SELECT id, ?, ? FROM topics "
        "WHERE name = '/camera/color/image_raw'",
        (FIRST_NS + 2 * STEP_NS, bytes(serialize(message))),
    )
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in source.parent.glob("*.db3*"):
        shutil.copy(file, killed)
    database.close()
    before = {file.name: file.read_bytes() for file in killed.iterdir()}
    assert len(before) == 3
    images = list(open_source(killed).images(1))
    assert len(images) == N
    for image, rgb in zip(images, FRAMES, strict=True):
        np.testing.assert_array_equal(image.decode().rgb, rgb)
    assert {file.name: file.read_bytes() for file in killed.iterdir()} == before
    (killed / "bag.db3-wal").write_bytes(b"")
    assert len(list(open_source(killed).images(1))) == 2


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def text(content: str | bytes) -> bytes:
    data = content if isinstance(content, bytes) else content.encode()
    return struct.pack("<I", len(data)) + data


def write_mcap(
    path: Path,
    channels: Sequence[tuple[str, str, str, str]],
    messages: Sequence[tuple[int, int, bytes]],
    profile: str = "ros2",
    schema: bytes = b"",
) -> Path:
    """Write an mcap without an index.

    Args:
        path: of the file.
        channels: topic, name and encoding of the schema, encoding of the messages.
        messages: number of the channel, time (ns), data.
        profile: of the file.
        schema: contents of all schemas.
    """
    records = [record(1, text(profile) + text("test"))]
    for number, (topic, kind, schema_encoding, encoding) in enumerate(channels):
        key = struct.pack("<H", number + 1)
        records.append(record(3, key + text(kind) + text(schema_encoding) + text(schema)))
        records.append(record(4, key + key + text(topic) + text(encoding) + text(b"")))
    for number, ns, data in messages:
        records.append(record(5, struct.pack("<HIQQ", number + 1, 0, ns, ns) + data))
    end = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC
    path.write_bytes(MAGIC + b"".join(records) + end)
    return path


def image_data(index: int = 0) -> bytes:
    header = header_message(FIRST_NS + index * STEP_NS, FRAME_ID)
    return bytes(serialize(image_message(FRAMES[index], "rgb8", header)))


def camera_messages(n: int = 2) -> list[tuple[int, int, bytes]]:
    """Images in channel 0, their infos in 1 and depth in 2."""
    messages = []
    for index in range(n):
        ns = FIRST_NS + index * STEP_NS
        header = header_message(ns, FRAME_ID)
        height, width = FRAMES[index].shape[:2]
        K = np.array([500.0, 0, width / 2, 0, 500.0, height / 2, 0, 0, 1])
        info = MessageType(INFO)(
            header=header, height=height, width=width, distortion_model="plumb_bob", k=K
        )
        depth = image_message(np.full((height, width), DISTANCE_M, np.float32), "32FC1", header)
        messages += [
            (0, ns, image_data(index)),
            (1, ns, bytes(serialize(info))),
            (2, ns, bytes(serialize(depth))),
        ]
    return messages


def camera_channels(
    topics: Sequence[str] = ("/image", "/camera_info", "/depth"), middle: str = "/msg/"
) -> list[tuple[str, str, str, str]]:
    names = ("Image", "CameraInfo", "Image")
    return [
        (topic, f"sensor_msgs{middle}{name}", "ros2msg", "cdr")
        for topic, name in zip(topics, names, strict=True)
    ]


@pytest.mark.parametrize("profile", ["ros2", "", "x", "a longer one"])
@pytest.mark.parametrize("middle", ["/msg/", "/"])
def test_any_profile_and_short_names_of_types(tmp_path: Path, profile: str, middle: str) -> None:
    path = write_mcap(
        tmp_path / "a.mcap", camera_channels(middle=middle), camera_messages(), profile
    )
    check(path, 2, last_depth=True)
    out = tmp_path / "out"
    arguments = ["annotate", str(path), "the red mug", "-o", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    check(out / "bag", 2, last_depth=True)


@pytest.mark.parametrize(
    "topics",
    [
        ("image", "camera_info", "depth"),
        ("/image", "camera_info", "/depth"),
        ("image", "/camera_info", "depth"),
    ],
)
def test_relative_topics(tmp_path: Path, topics: tuple[str, ...]) -> None:
    path = write_mcap(tmp_path / "a.mcap", camera_channels(topics), camera_messages())
    check(path, 2, last_depth=True)
    assert len(list(open_source(path, [topics[0]]).images(1))) == 2


@pytest.mark.parametrize("has_counts", [True, False])
def test_chunks_without_an_index_of_their_messages(tmp_path: Path, has_counts: bool) -> None:
    """Recorders may leave it out: mcap.dev/spec, "Chunk Index"."""
    messages = camera_messages()
    whole = write_mcap(tmp_path / "a.mcap", camera_channels(), messages).read_bytes()
    begin = len(MAGIC) + 9 + struct.unpack_from("<Q", whole, len(MAGIC) + 1)[0]  # after the header
    raw = whole[begin : -len(MAGIC) - 29 - 13]  # before the footer and the end of the data
    first, last = messages[0][1], messages[-1][1]
    times = struct.pack("<QQ", first, last)
    sizes = struct.pack("<QQ", len(raw), len(raw))
    chunk = record(6, times + sizes[:8] + bytes(4) + text(b"") + sizes[8:] + raw)
    end = record(15, bytes(4))
    counts = b"".join(struct.pack("<HQ", channel, 2) for channel in (1, 2, 3))
    statistics = struct.pack("<QHIIII", len(messages), 3, 3, 0, 0, 1) + times
    summary = (
        raw[: raw.index(struct.pack("<BQ", 5, 22 + len(messages[0][2])))]  # schemas and channels
        + record(8, times + struct.pack("<QQ", begin, len(chunk)) + bytes(12) + text(b"") + sizes)
        + record(11, statistics + text(counts if has_counts else b""))
    )
    body = whole[:begin] + chunk + end
    footer = record(2, struct.pack("<QQI", len(body), 0, 0)) + MAGIC
    path = tmp_path / "indexed.mcap"
    path.write_bytes(body + summary + footer)
    check(path, 2, last_depth=True)


def test_without_an_index_older_messages_may_follow(tmp_path: Path) -> None:
    """Recorders write the topics' messages as they come; a killed one leaves no index."""
    messages = camera_messages()
    messages = [*messages[3:], *messages[:3]]
    path = write_mcap(tmp_path / "a.mcap", camera_channels(), messages)
    stamps = [each.stamp_ns for each in open_source(path).images(1)]
    assert stamps == [FIRST_NS + STEP_NS, FIRST_NS]


def test_compressed_messages_in_a_file_of_its_own(tmp_path: Path) -> None:
    messages = [(channel, ns, zstd.compress(data)) for channel, ns, data in camera_messages()]
    path = write_mcap(tmp_path / "a.mcap", camera_channels(), messages)
    check(path, 2, last_depth=True)


@pytest.mark.parametrize(
    "schema_encoding", ["jsonschema", "protobuf", "ros1msg", "flatbuffer", "é"]
)
@pytest.mark.parametrize("encoding", ["json", "protobuf", "ros1"])
def test_channels_of_other_encodings_are_left_out_and_named(
    tmp_path: Path, schema_encoding: str, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mcap(
        tmp_path / "a.mcap",
        [*camera_channels(), ("/notes", "Notes", schema_encoding, encoding)],
        [*camera_messages(), (3, FIRST_NS + 5 * STEP_NS, b"{}")],
        schema=b"\xff\x00\xfe",  # descriptors of protobuf are no text
    )
    check(path, 2, last_depth=True)
    reason = f"/notes ignored: messages in {encoding!r}, expected 'cdr'"
    assert capsys.readouterr().err.count(reason) == 1


@pytest.mark.parametrize(
    ("encoding", "schema_encoding", "profile", "reason"),
    [
        ("ros1", "ros1msg", "ros1", "a recording of ROS 1; convert it to ROS 2 first"),
        ("protobuf", "protobuf", "", "its messages are protobuf, expected cdr (ROS 2)"),
        ("json", "jsonschema", "", "its messages are json, expected cdr (ROS 2)"),
    ],
)
def test_recordings_of_other_systems(
    tmp_path: Path, encoding: str, schema_encoding: str, profile: str, reason: str
) -> None:
    channels = [("/image", "sensor_msgs/Image", schema_encoding, encoding)]
    path = write_mcap(tmp_path / "a.mcap", channels, [(0, FIRST_NS, b"{}")], profile, b"\xff")
    assert refusal(path) == reason


def test_compressions_that_are_not_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", FRAMES)
    metadata = bag / "metadata.yaml"
    whole = metadata.read_text(encoding="utf-8")
    edited = whole.replace("compression_format: ''", "compression_format: lz4")
    metadata.write_text(
        edited.replace("compression_mode: ''", "compression_mode: MESSAGE"), encoding="utf-8"
    )
    assert refusal(bag) == "compressed with lz4; accepted: zstd"
    file = storage_file(bag)
    packed = file.rename(file.with_name(f"{file.name}.gz"))
    metadata.unlink()
    assert refusal(bag) == f"{packed}: compressed with gz; accepted: zstd".removeprefix(f"{bag}: ")


def test_zeros_at_the_end_are_not_read_as_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mcap(tmp_path / "a.mcap", camera_channels(), camera_messages())
    end = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC
    records = path.read_bytes()[: -len(end)]
    n_zeros = 5_000_000
    path.write_bytes(records + bytes(n_zeros))
    with McapFile.truncated(path).open() as file:
        presented = file.read()
    assert presented.startswith(records)
    assert len(presented) < len(records) + 100
    check(path, 2, last_depth=True)
    err = capsys.readouterr().err
    assert f"truncated (ends in {n_zeros} bytes of zeros); using the readable part" in err


def write_topics(path: Path, messages: Sequence[tuple[str, Any, int]], empty: str = "") -> Path:
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for topic, message, ns in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, message.__msgtype__, typestore=typestore()
                )
            writer.write(connections[topic], ns, serialize(message))
        if empty:
            writer.add_connection(empty, IMAGE, typestore=typestore())
    return path


def image_at(ns: int, encoding: str = "rgb8") -> Any:
    return image_message(FRAMES[0], encoding, header_message(ns, FRAME_ID))


def test_an_image_topic_without_messages_is_named(tmp_path: Path) -> None:
    words = MessageType("std_msgs/msg/String")(data="hello")
    bag = write_topics(tmp_path / "bag", [("/chatter", words, FIRST_NS)], empty="/cam/image_raw")
    assert refusal(bag) == "no topic with colour images; /cam/image_raw has no message"


def test_an_empty_image_at_the_beginning_does_not_decide(tmp_path: Path) -> None:
    empty = MessageType(IMAGE)(header=header_message(FIRST_NS, FRAME_ID))
    messages = [("/image", empty, FIRST_NS)]
    messages += [("/image", image_at(FIRST_NS + i), FIRST_NS + i) for i in (1, 2)]
    images = list(open_source(write_topics(tmp_path / "bag", messages)).images(1))
    assert len(images) == 3
    with pytest.raises(ValueError, match="encoding"):
        images[0].decode()
    for image in images[1:]:
        np.testing.assert_array_equal(image.decode().rgb, FRAMES[0])


def test_a_stamp_that_results_cannot_hold_costs_its_image_alone(tmp_path: Path) -> None:
    far = image_at(0)
    far.header.stamp.sec, far.header.stamp.nanosec = 2**31 - 1, 2**32 - 1
    messages = [
        ("/image", far, FIRST_NS),
        ("/image", image_at(LAST_NS + 999_999_999), FIRST_NS + 1),
    ]
    bag = write_topics(tmp_path / "bag", messages)
    out = tmp_path / "out"
    arguments = ["annotate", str(bag), "the red mug", "-o", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    table = (out / "answers.csv").read_text(encoding="utf-8")
    assert "stamp 2147483651.294967295 s; accepted: less than 2^31 s" in table
    assert "2147483647.999999999" in table


def moved_depth(tmp_path: Path, *, turn: bool = True) -> Path:
    """Depth of another frame, whose static transform is recorded seconds after the first image."""
    shape = FRAMES[0].shape[:2]
    messages: list[tuple[str, Any, int]] = []
    for seconds in (0, 3):
        ns = FIRST_NS + seconds * 1_000_000_000
        for topic, frame_id in (("/image", FRAME_ID), ("/depth/image", "depth")):
            header = header_message(ns, frame_id)
            info = MessageType(INFO)(
                header=header,
                height=shape[0],
                width=shape[1],
                distortion_model="plumb_bob",
                k=np.array([500.0, 0, shape[1] / 2, 0, 500.0, shape[0] / 2, 0, 0, 1]),
            )
            metres = np.full(shape, DISTANCE_M, np.float32)
            image = image_message(metres, "32FC1", header) if "depth" in topic else image_at(ns)
            info_topic = "/camera_info" if topic == "/image" else "/depth/camera_info"
            messages += [(topic, image, ns), (info_topic, info, ns)]
    pose = behind("depth", FIRST_NS)
    if not turn:
        pose.transforms[0].transform.rotation.w = 0.0
    messages.append(("/tf_static", pose, FIRST_NS + 2_000_000_000))
    return write_topics(tmp_path / "bag", sorted(messages, key=lambda each: each[2]))


def test_a_static_transform_holds_for_the_whole_recording(tmp_path: Path) -> None:
    images = list(open_source(moved_depth(tmp_path)).images(1))
    assert len(images) == 2
    for image in images:
        depth = image.find_depth(image.decode())
        assert depth is not None
        assert np.nanmedian(depth.metres) == pytest.approx(DISTANCE_M - 0.1, abs=1e-3)


def test_a_refused_transform_is_named_where_it_is_missing(tmp_path: Path) -> None:
    image = next(open_source(moved_depth(tmp_path, turn=False)).images(1))
    with pytest.raises(ValueError, match=r"no transform from .*refused: .*quaternion"):
        image.find_depth(image.decode())


def test_a_ros_1_bag_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.bag"
    path.write_bytes(b"#ROSBAG V2.0\n")
    assert "rosbags-convert" in refusal(path)


def test_a_folder_with_a_ros_1_bag(tmp_path: Path) -> None:
    file = tmp_path / "walk.bag"
    file.write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(ValueError, match=r"a ROS 1 bag; convert it .*--src walk\.bag --dst walk"):
        open_source(tmp_path)
