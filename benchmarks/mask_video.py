# SPDX-License-Identifier: Apache-2.0
"""Measure the videos of masks of ``mllmseg label --to lerobot`` against the video that they are of.

    python benchmarks/mask_video.py CACHE          # --sequences bowls --seconds 5

The sequences of benchmarks/tracking.py: objects that move, seen by a moving camera, 640 x 480 px,
30 Hz. The video is encoded as the lerobot package 0.4 does by default (SVT-AV1, CRF 30, preset 12,
a key frame every second frame). Masks are those of the embedded model on the frames themselves, and
the true ones. Beside the format that is written, FFV1 and PNG files; every frame of each is decoded
again and compared.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tracking import RATE, SEQUENCES, load_recording

from mllmseg_ros.recording.lerobot_video import MaskVideo
from mllmseg_ros.segmentation import Status
from mllmseg_ros.segmenter import Segmenter

AS_LEROBOT = ("libsvtav1", "yuv420p", {"crf": "30", "g": "2", "preset": "12"})
FFV1 = ("ffv1", "gray", {})


def encode(
    frames: Sequence[NDArray[np.uint8]], codec: str, pixel_format: str, options: dict[str, str]
) -> bytes:
    """Encode RGB (H, W, 3) or grey (H, W) frames as an MP4."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as file:
        stream = file.add_stream(codec, rate=round(RATE), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        for pixels in frames:
            kind = "gray" if pixels.ndim == 2 else "rgb24"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format=kind)))
        file.mux(stream.encode(None))
    return data.getvalue()


def check_lossless(data: bytes, masks: Sequence[NDArray[np.bool_]]) -> float:
    """Decode a video of masks and compare it; returns milliseconds per frame."""
    began = time.perf_counter()
    with av.open(io.BytesIO(data)) as file:
        decoded = [frame.to_ndarray(format="rgb24")[..., 0] for frame in file.decode(video=0)]
    spent_ms = 1000 * (time.perf_counter() - began) / len(masks)
    for grey, mask in zip(decoded, masks, strict=True):
        assert np.array_equal(grey, mask * np.uint8(255))
    return spent_ms


def measure(masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Measure bytes per frame of each format, and milliseconds of the one that is written."""
    grey = [mask * np.uint8(255) for mask in masks]
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder, "masks.mp4"), time.perf_counter()
        with closing(MaskVideo(path, masks[0].shape, RATE)) as video:
            for mask in masks:
                video.write(mask)
        write_ms = 1000 * (time.perf_counter() - began) / len(masks)
        data = path.read_bytes()
    ffv1 = encode(grey, *FFV1)
    check_lossless(ffv1, masks)
    bilevel = (cv2.IMWRITE_PNG_BILEVEL, 1)
    return {
        "h264": len(data) / len(masks),
        "ffv1": len(ffv1) / len(masks),
        "png": sum(len(cv2.imencode(".png", each, bilevel)[1]) for each in grey) / len(masks),
        "write_ms": write_ms,
        "read_ms": check_lossless(data, masks),
        "share": float(np.mean(masks)),
    }


def main() -> None:
    """Print a row per sequence and kind of masks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--sequences", nargs="+", choices=SEQUENCES, default=["bowls", "plates"])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained(device="cpu", dtype="float32")
    print("bytes per frame; of masks: of one expression, the mean of all")
    print(f"{'sequence':10}{'masks':10}{'video':>8}{'h264':>8}{'ffv1':>8}{'png':>8}", end="")
    print(f"{'h264/video':>12}{'write ms':>10}{'read ms':>9}{'area %':>8}")
    for name in arguments.sequences:
        recording = load_recording(name, arguments.seconds, arguments.cache)
        frames = [np.ascontiguousarray(rgb) for rgb in recording.rgb]
        video = len(encode(frames, *AS_LEROBOT)) / len(frames)
        texts = [text for text, _ in recording.targets]
        results = [segmenter(rgb, texts) for rgb in frames]
        nothing = np.zeros(frames[0].shape[:2], np.bool_)
        kinds = {
            "embedded": [
                [
                    nothing if each[index].status is Status.NO_TARGET else each[index].mask
                    for each in results
                ]
                for index in range(len(texts))
            ],
            "true": [
                [recording.truth(k, ids) for k in range(len(frames))]
                for _, ids in recording.targets
            ],
        }
        for kind, of_expressions in kinds.items():
            measured = [measure(masks) for masks in of_expressions]
            mean = {key: np.mean([each[key] for each in measured]) for key in measured[0]}
            print(f"{name:10}{kind:10}{video:8.0f}", end="")
            print("".join(f"{mean[key]:8.0f}" for key in ("h264", "ffv1", "png")), end="")
            print(f"{100 * mean['h264'] / video:10.1f} %{mean['write_ms']:10.2f}", end="")
            print(f"{mean['read_ms']:9.2f}{100 * mean['share']:8.1f}", flush=True)


if __name__ == "__main__":
    main()
