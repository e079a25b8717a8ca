# SPDX-License-Identifier: Apache-2.0
"""Folders of images and videos as phones, browsers and other systems write them."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
pytest.importorskip("av", reason="needs requirements/recordings.txt")
pytest.importorskip("pycocotools", reason="needs requirements/recordings.txt")

import av
from recordings import sample_frames

from mllmseg_ros.checkpoints.loading import open_tensors
from mllmseg_ros.cli import main
from mllmseg_ros.codecs.image_file import open_image, read_image
from mllmseg_ros.recording.recorded_image import IMAGE_SUFFIXES
from mllmseg_ros.recording.source import open_source

TIMES_MS = [0, 33, 66, 120, 200, 300, 420, 500, 900, 1000, 1100, 2000]
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
)


def write_video(path: Path, codec: str, times_ms: list[int]) -> None:
    rgb = sample_frames(1, width=64)[0]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = rgb.shape[1], rgb.shape[0], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for ms in times_ms:
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.mkv", "libx264")]
)
@pytest.mark.parametrize("every", [1, 3])
def test_frames_of_a_variable_rate_have_their_own_stamps(
    tmp_path: Path, name: str, codec: str, every: int
) -> None:
    path = tmp_path / name
    write_video(path, codec, TIMES_MS)
    images = []
    for image in open_source(path).images(every):
        assert image.decode().stamp_ns == image.stamp_ns
        images.append(image)
    expected = [1.0 + ms / 1000 for ms in TIMES_MS[::every]]
    np.testing.assert_allclose([each.stamp_ns / 1e9 for each in images], expected, atol=0.0011)


def test_frames_of_a_constant_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    rgb = sample_frames(1, width=64)[0]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, rgb.shape[1::-1])
    for _ in range(10):
        video.write(rgb)
    video.release()
    stamps = [each.stamp_ns / 1e9 for each in open_source(path).images(1)]
    np.testing.assert_allclose(stamps, 1 + np.arange(10) / 25, atol=1e-6)


def test_a_video_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, "libx264", TIMES_MS)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"moov") - 4])
    with pytest.raises(ValueError, match=r"truncated: its index \(moov\) is missing"):
        open_source(path)


def test_a_truncated_video_with_its_index_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 1
        for rgb in noise:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))
    whole = path.read_bytes()
    assert len(list(open_source(path).images(1))) == 6
    path.write_bytes(whole + b"signed by a camera")
    assert len(list(open_source(path).images(1))) == 6
    assert capsys.readouterr().err == ""
    path.write_bytes(whole[: len(whole) // 2])
    assert 0 < len(list(open_source(path).images(1))) < 6
    assert "truncated; using the readable part" in capsys.readouterr().err
    path.write_bytes(whole[: whole.index(b"mdat") + 100])
    with pytest.raises(ValueError, match="truncated before its first frame"):
        open_source(path)


def write_png(path: Path, value: int) -> None:
    cv2.imwrite(str(path), np.full((8, 8, 3), value, np.uint8))


def test_images_come_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    names = ["1.png", "2.png", "10.png", "a2b1.png", "a2b10.png", "a10.png"]
    for value, name in reversed(list(enumerate(names))):
        write_png(tmp_path / name, value)
        (tmp_path / f"._{name}").write_bytes(b"\0\x05\x16\x07" + bytes(100))
    images = list(open_source(tmp_path).images(1))
    assert [each.decode().rgb[0, 0, 0] for each in images] == list(range(len(names)))


def test_every_format_that_a_single_image_may_have(tmp_path: Path) -> None:
    rgb = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    for number, suffix in enumerate(IMAGE_SUFFIXES[:-2]):  # without HEIC
        PIL.Image.fromarray(rgb).save(tmp_path / f"{number}{suffix}")
    images = list(open_source(tmp_path).images(1))
    assert len(images) == 6
    for image in images:
        np.testing.assert_allclose(image.decode().rgb, rgb, atol=4)


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.mp4", "a.webm"])
def test_pointers_of_git_lfs_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(POINTER)
    reason = rf"{name}: this is a Git LFS pointer of {len(POINTER)} bytes that stands for 12345"
    with pytest.raises(ValueError, match=reason):
        open_source(tmp_path / name)


def test_pointers_in_place_of_a_bags_file_an_image_and_weights(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    for name in ("bag_0.mcap", "model.safetensors", "a.png"):
        (bag / name).write_bytes(POINTER)
    with pytest.raises(ValueError, match="Git LFS pointer"):
        open_source(bag)
    with pytest.raises(ValueError, match="Git LFS pointer"):
        read_image(bag / "a.png")
    with pytest.raises(ValueError, match="Git LFS pointer"), open_tensors(bag):
        pass


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)


def test_heic_is_named_where_it_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mllmseg_ros.codecs import image_file

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_file._can_read_heic.cache_clear()
    (tmp_path / "a.heic").write_bytes(HEIC)
    (image,) = open_source(tmp_path).images(1)
    with pytest.raises(ValueError, match=r"is an HEIC image; accepted: PNG, .*install pillow-heif"):
        image.decode()
    image_file._can_read_heic.cache_clear()


def test_heic_is_read_upright(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    rgb = sample_frames(1)[0]
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    path = tmp_path / "a.heic"
    pillow_heif.register_heif_opener()
    PIL.Image.fromarray(rgb).save(path, quality=95, exif=exif.tobytes())
    with open_image(path) as image:
        assert image.size_hw == rgb.shape[1::-1]
    assert np.abs(read_image(path).astype(int) - np.rot90(rgb, -1)).mean() < 2


@pytest.mark.parametrize("command", ["annotate", "label"])
def test_a_folder_without_a_readable_image_fails_with_the_reason(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(POINTER)
    out = tmp_path / "out"
    arguments = [command, str(folder), "the red mug", "-o", str(out), "--device", "cpu"]
    assert main(arguments) == 1
    err = capfd.readouterr().err
    assert "2 images can be read: " in err.splitlines()[-1]
    assert "Git LFS pointer" in err.splitlines()[-1]
