# SPDX-License-Identifier: Apache-2.0
"""Camera rate from a slower model: what is published against the truth at its own stamp.

    python benchmarks/tracking.py CACHE            # --no-depth --sequences crossing --seconds 12

Sequences of a tabletop on which things move and pass behind each other, seen by a camera that moves
too, are rendered once into the folder CACHE (about 0.9 GB each) and replayed in real time at 30 Hz.
The model runs in a thread of its own beside it: true masks that arrive 0.5 s late and keep a core
busy, at most 2 and 0.5 times a second, and the embedded model, at most 2 times a second. Baselines
of the same run: a model without latency (for true masks IoU 100, for the embedded model its answers
on the frames themselves), and the last answer frozen until the next. Read the ratios; the load of
the machine is printed with them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import Pose, TabletopCamera
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.scene import CameraView, Scene
from mllmseg_ros.tracking.association import assign_pairs
from mllmseg_ros.tracking.tracker import TrackedInstance, Tracker

WIDTH, HEIGHT, RATE = 640, 480, 30.0  # px, px, Hz
LATE_S = 0.5
MIN_PX = 300  # of a target; with fewer it counts as hidden
MAX_EXPRESSIONS = 4


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How a sequence moves."""

    seed: int  # of the scene
    rows: (
        bool  # things drive along three rows one behind another, else each circles about its place
    )
    camera: float  # how much the camera moves; 1: about as in a careful hand


# What is tried out on the first four is measured on the others, whose seeds were drawn blindly.
TRIED_OUT = ("sway", "crossing", "crowd", "swing")
SEQUENCES = {
    "sway": Motion(seed=17, rows=False, camera=1.0),
    "crossing": Motion(seed=23, rows=True, camera=0.5),
    "crowd": Motion(seed=41, rows=True, camera=1.0),
    "swing": Motion(seed=8, rows=False, camera=2.0),
    "bowls": Motion(seed=101, rows=True, camera=0.5),
    "plates": Motion(seed=102, rows=False, camera=1.0),
    "books": Motion(seed=103, rows=True, camera=1.0),
    "mugs": Motion(seed=104, rows=False, camera=2.0),
}
MEASURED = [name for name in SEQUENCES if name not in TRIED_OUT]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A rendered sequence of N frames."""

    rgb: NDArray[np.uint8]  # (N, H, W, 3)
    depth_mm: NDArray[np.uint16]  # (N, H, W), 0 where nothing was hit
    instances: NDArray[np.uint8]  # (N, H, W)
    K: NDArray[np.float64]  # (3, 3) px
    targets: list[tuple[str, tuple[int, ...]]]  # expression, instance ids

    def frame(self, k: int) -> Frame:
        """Frame k, stamped by its time in the sequence."""
        return Frame(rgb=self.rgb[k], stamp_ns=round(1e9 * k / RATE), frame_id="camera")

    def depth(self, k: int) -> Depth:
        """Its depth."""
        metres = self.depth_mm[k].astype(np.float32) / 1000
        metres[metres == 0] = np.nan
        return Depth(metres=metres, intrinsics=Intrinsics(K=self.K, D=np.zeros(5)))

    def truth(self, k: int, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Where these objects are in frame k."""
        return np.isin(self.instances[k], ids)


# Sequences


def rows_at(scene: Scene, time_s: float) -> dict[int, Pose]:
    """Things in three rows across the camera's sight: the middle one stands, the others drive."""
    forward, right = _on_table(scene.camera)
    poses = {}
    for index, thing in enumerate(scene.objects):
        row, place = index % 3, index // 3
        side = 0.19 * (place - (len(scene.objects) - 1) // 3 / 2)
        phase = 2 * math.pi * time_s / (9.0, 1.0, 7.0)[row] + 0.8 * row
        side += (0.16, 0.0, -0.13)[row] * math.sin(phase)
        yaw = thing.yaw_rad + (0.3 * math.sin(phase) if row != 1 else 0.0)
        x, y = 0.21 * (1 - row) * forward + side * right
        poses[index + 1] = (float(x), float(y), yaw)
    return poses


def sway_at(scene: Scene, time_s: float) -> dict[int, Pose]:
    """Each thing circles about its place, by less than the gaps between them."""
    poses = {}
    for index, thing in enumerate(scene.objects):
        phase = 2 * math.pi * (time_s / 4.0 + index / len(scene.objects))
        x, y = thing.xy_m[0] + 0.012 * math.cos(phase), thing.xy_m[1] + 0.012 * math.sin(phase)
        poses[index + 1] = (x, y, thing.yaw_rad + 0.4 * math.sin(phase))
    return poses


def camera_at(scene: Scene, motion: Motion, time_s: float) -> CameraView:
    """The camera on a curve about its place, its eyes on a point that wanders over the table."""
    forward, right = _on_table(scene.camera)
    amount = motion.camera
    turn = [2 * math.pi * time_s / period for period in (6.1, 4.3, 7.7, 5.2)]
    aim = amount * (
        0.03 * math.sin(turn[0]) * np.append(right, 0)
        + 0.025 * math.sin(turn[1] + 1) * np.append(forward, 0)
    )
    elevation = 0.5 if motion.rows else 0.75
    elevation += 0.05 * amount * math.sin(turn[2])
    azimuth = math.atan2(forward[1], forward[0]) + 0.12 * amount * math.sin(turn[3])
    distance = 0.95 * (1 + 0.06 * amount * math.sin(turn[1]))
    ahead = np.array(
        [
            math.cos(azimuth) * math.cos(elevation),
            math.sin(azimuth) * math.cos(elevation),
            -math.sin(elevation),
        ]
    )
    across = np.cross(ahead, (0.0, 0.0, 1.0))
    across /= np.linalg.norm(across)
    return CameraView(
        position_m=aim - distance * ahead,
        rotation=np.stack([across, np.cross(ahead, across), ahead], axis=1),
        vertical_fov_rad=0.75,
    )


def _on_table(camera: CameraView) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The camera's forward and right on the table, (2,) each."""
    forward = camera.rotation[:2, 2] / np.linalg.norm(camera.rotation[:2, 2])
    return forward, np.array([forward[1], -forward[0]])


def targets_of(scene: Scene, seen: set[int]) -> list[tuple[str, tuple[int, ...]]]:
    """Expressions that mean the same throughout: a kind of several things, and single things."""
    names = [(thing.color, thing.kind) for thing in scene.objects]
    kinds: dict[str, list[int]] = {}
    for index, (_, kind) in enumerate(names):
        kinds.setdefault(kind, []).append(index + 1)
    several = [
        (f"all the {kind}{'es' if kind == 'box' else 's'}", tuple(ids))
        for kind, ids in kinds.items()
        if len(ids) > 1
    ]
    single = [
        (f"the {color} {kind}", (index + 1,))
        for index, (color, kind) in enumerate(names)
        if names.count((color, kind)) == 1 and index + 1 in seen
    ]
    return (several[:1] + single)[:MAX_EXPRESSIONS]


def recorded(name: str, seconds: float, cache: Path) -> Recording:
    """Render a sequence into the cache, unless it is there."""
    motion = SEQUENCES[name]
    n = round(seconds * RATE)
    folder = cache / f"{name}_{n}"
    shapes = {"rgb": (n, HEIGHT, WIDTH, 3), "depth_mm": (n, HEIGHT, WIDTH)}
    shapes["instances"] = shapes["depth_mm"]
    types = {"rgb": np.uint8, "depth_mm": np.uint16, "instances": np.uint8}
    if not (folder / "about.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            key: np.lib.format.open_memmap(
                folder / f"{key}.npy", "w+", dtype=types[key], shape=shapes[key]
            )
            for key in shapes
        }
        scene = random_scene(motion.seed, "validation", 7)
        moved = rows_at if motion.rows else sway_at
        print(f"rendering {name}, {n} frames", flush=True)
        with TabletopCamera(WIDTH, HEIGHT) as camera:
            camera.load(scene)
            for k in range(n):
                view = camera.render(
                    moved(scene, k / RATE),
                    camera=camera_at(scene, motion, k / RATE),
                    describe=k == 0,
                )
                if k == 0:
                    seen = {thing.instance_id for thing in view.objects if thing.nameable}
                arrays["rgb"][k] = view.rgb
                arrays["depth_mm"][k] = np.round(1000 * view.depth_m).astype(np.uint16)
                arrays["instances"][k] = view.instances
        about = {"K": view.K.tolist(), "targets": targets_of(scene, seen)}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return Recording(
        **{key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in shapes},
        K=np.array(about["K"]),
        targets=[(text, tuple(ids)) for text, ids in about["targets"]],
    )


# Models


def true_answers(recording: Recording, k: int) -> list[Segmentation]:
    """What a model without faults says of frame k."""
    answers = []
    for text, ids in recording.targets:
        mask = recording.truth(k, ids)
        status = Status.FOUND if mask.sum() >= MIN_PX / 4 else Status.NO_TARGET
        answers.append(build_segmentation(text, status, 1.0, 1.0, mask.astype(np.float32), mask))
    return answers


def late_truth(recording: Recording) -> Callable[[int], list[Segmentation]]:
    """True masks after half a second in which a core is busy."""

    def answer(k: int) -> list[Segmentation]:
        done = time.perf_counter() + LATE_S
        block = np.ones((256, 256), np.float32)
        while time.perf_counter() < done:
            block @ block
        return true_answers(recording, k)

    return answer


def embedded(recording: Recording, segmenter: Segmenter) -> Callable[[int], list[Segmentation]]:
    """The model that comes with the package."""
    texts = [text for text, _ in recording.targets]
    return lambda k: segmenter(np.asarray(recording.rgb[k]), texts)


# Replay


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published entry, its mask cropped to its box."""

    expression_index: int
    track_id: str
    mask: NDArray[np.bool_]
    origin_uv: tuple[int, int]


@dataclass(kw_only=True)
class Replay:
    """What one run published."""

    entries: dict[int, list[Entry]] = field(default_factory=dict)  # frame -> what was published
    age_s: list[float] = field(default_factory=list)
    cost_s: list[float] = field(default_factory=list)  # of update() and current(), each frame
    answers: list[list[Segmentation]] = field(default_factory=list)  # as they arrived
    n_answers: dict[int, int] = field(default_factory=dict)  # frame -> how many had arrived


def replay(
    recording: Recording, model: Callable[[int], list[Segmentation]], hz: float, with_depth: bool
) -> Replay:
    """Play a sequence in real time, with the model beside it."""
    n = len(recording.rgb)
    tracker, lock, over = Tracker(key_age_s=0.0), threading.Lock(), threading.Event()
    done = Replay()
    start = time.perf_counter() + 0.1

    def look() -> None:
        due = 0.0
        while not over.is_set():
            if time.perf_counter() < due:
                time.sleep(0.002)
                continue
            with lock:
                frame = tracker.newest
                wanted = frame and tracker.needs_key_image(frame.stamp_ns)
                key = tracker.begin_inference() if wanted else 0
            if not wanted or frame is None:
                time.sleep(0.002)
                continue
            due = time.perf_counter() + 1 / hz
            k = round(frame.stamp_ns * RATE / 1e9)
            answers = model(k)
            depth = recording.depth(k) if with_depth else None
            with lock:
                if tracker.finish_inference(key, answers, depth):
                    done.answers.append(answers)

    thread = threading.Thread(target=look)
    thread.start()
    k = 0
    while k < n:
        time.sleep(max(0.0, start + k / RATE - time.perf_counter()))
        k = max(k, int((time.perf_counter() - start) * RATE))  # the newest frame wins
        if k >= n:
            break
        depth = recording.depth(k) if with_depth else None
        frame = recording.frame(k)
        with lock:
            began = time.perf_counter()
            tracker.encode_vision(frame, depth)
            shown = tracker.current()
            ended = time.perf_counter()
            done.n_answers[k] = len(done.answers)
        if shown:
            done.entries[k] = [_entry(each) for each in shown]
            done.age_s.append(ended - start - k / RATE)
            done.cost_s.append(ended - began)
        k += 1
    over.set()
    thread.join()
    return done


def _entry(each: TrackedInstance) -> Entry:
    segmentation = each.segmentation
    found = segmentation.status is Status.FOUND
    x0, y0, x1, y1 = (found and segmentation.box_xyxy) or (0, 0, 0, 0)
    return Entry(
        expression_index=each.expression_index,
        track_id=each.track_id if found else "",
        mask=segmentation.mask[y0:y1, x0:x1].copy(),
        origin_uv=(x0, y0),
    )


# What came of it


def whole(entries: Sequence[Entry]) -> NDArray[np.bool_]:
    """Union of entries, (H, W)."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    for entry in entries:
        (u, v), (h, w) = entry.origin_uv, entry.mask.shape
        mask[v : v + h, u : u + w] |= entry.mask
    return mask


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    both = np.count_nonzero(a & b)
    return both / max(1, np.count_nonzero(a) + np.count_nonzero(b) - both)


def published_iou(recording: Recording, done: Replay) -> tuple[float, float]:
    """Mean IoU of what was published, and of the last answer frozen, over frames and targets."""
    ours, frozen = [], []
    for k, entries in done.entries.items():
        last = done.answers[done.n_answers[k] - 1]
        for index, (_, ids) in enumerate(recording.targets):
            truth = recording.truth(k, ids)
            if truth.sum() < MIN_PX:
                continue
            ours.append(iou(whole([e for e in entries if e.expression_index == index]), truth))
            answer = last[index]
            mask = answer.mask if answer.status is Status.FOUND else np.zeros_like(truth)
            frozen.append(iou(mask, truth))
    return float(np.mean(ours)), float(np.mean(frozen))


def zero_latency_iou(recording: Recording, model: Callable[[int], list[Segmentation]]) -> float:
    """Mean IoU of the model's answers on every fifth frame."""
    values = []
    for k in range(0, len(recording.rgb), 5):
        for answer, (_, ids) in zip(model(k), recording.targets, strict=True):
            truth = recording.truth(k, ids)
            if truth.sum() >= MIN_PX:
                mask = answer.mask if answer.status is Status.FOUND else np.zeros_like(truth)
                values.append(iou(mask, truth))
    return float(np.mean(values))


@dataclass
class TrackIds:
    """What became of the objects' identities."""

    switches: int = 0  # another id than last time, without full occlusion in between
    switches_hidden: int = 0  # the same after full occlusion
    lost: int = 0  # not shown any more though visible
    regained: int = 0  # shown again under the old id


def identities(recording: Recording, done: Replay) -> TrackIds:
    """Follow each true object through what was published."""
    count = TrackIds()
    for index, (_, ids) in enumerate(recording.targets):
        last_id: dict[int, str] = {}
        absent: dict[int, bool] = dict.fromkeys(ids, False)
        hidden: dict[int, bool] = dict.fromkeys(ids, False)
        for k, entries in done.entries.items():
            mine = [e for e in entries if e.expression_index == index and e.track_id]
            truths = [recording.truth(k, [i]) for i in ids]
            gain = np.array([[iou(whole([e]), t) for e in mine] for t in truths])
            gain = np.where(gain >= 0.5, gain, 0.0).reshape(len(ids), len(mine))
            owner = {ids[row]: mine[column].track_id for row, column in assign_pairs(gain)}
            for i, truth in zip(ids, truths, strict=True):
                area = np.count_nonzero(truth)
                if i not in owner:
                    hidden[i] |= area < MIN_PX / 4
                    if i in last_id and not absent[i] and area >= MIN_PX:
                        absent[i] = True
                        count.lost += 1
                    continue
                if i in last_id and owner[i] != last_id[i]:
                    if hidden[i]:
                        count.switches_hidden += 1
                    else:
                        count.switches += 1
                elif absent[i]:
                    count.regained += 1
                last_id[i], absent[i], hidden[i] = owner[i], False, False
    return count


def row(recording: Recording, done: Replay, reference: float) -> dict[str, float]:
    """The figures of one run."""
    ours, frozen = published_iou(recording, done)
    first, last = min(done.entries), max(done.entries)
    who = identities(recording, done)
    return {
        "zero_latency_iou": reference,
        "iou": ours,
        "ratio": ours / reference,
        "frozen_iou": frozen,
        "frozen_ratio": frozen / reference,
        "rate_hz": RATE * len(done.entries) / (last - first + 1),
        "age_p50_ms": 1000 * float(np.percentile(done.age_s, 50)),
        "age_p95_ms": 1000 * float(np.percentile(done.age_s, 95)),
        "cost_p50_ms": 1000 * float(np.percentile(done.cost_s, 50)),
        "cost_p95_ms": 1000 * float(np.percentile(done.cost_s, 95)),
        "answers": len(done.answers),
        "switches": who.switches,
        "switches_after_occlusion": who.switches_hidden,
        "lost": who.lost,
        "regained": who.regained,
    }


def main() -> None:
    """Render, replay and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--sequences", nargs="+", choices=SEQUENCES, default=MEASURED)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--no-depth", action="store_true", help="a camera without depth images")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.from_pretrained()
    rows: dict[str, dict[str, float]] = {}
    print(
        f"{'':24}{'IoU':>6}{'of 0 s':>8}{'frozen':>8}{'Hz':>6}{'age ms p50/p95':>16}{'cost ms':>12}"
        f"{'answers':>9}{'switch':>8}{'hidden':>8}{'lost':>6}{'regained':>10}{'load':>6}"
    )
    for name in asked.sequences:
        recording = recorded(name, asked.seconds, asked.cache)
        for array in (recording.rgb, recording.depth_mm):
            array.max()  # into memory
        own = embedded(recording, segmenter)
        cases = {
            "truth 2 Hz": (late_truth(recording), 2.0, 1.0),
            "truth 0.5 Hz": (late_truth(recording), 0.5, 1.0),
            "embedded 2 Hz": (own, 2.0, zero_latency_iou(recording, own)),
        }
        for case, (model, hz, reference) in cases.items():
            load = os.getloadavg()[0]
            r = row(recording, replay(recording, model, hz, not asked.no_depth), reference)
            rows[f"{name}, {case}"] = r
            print(
                f"{name + ', ' + case:24}{100 * r['iou']:6.1f}{100 * r['ratio']:7.1f}%"
                f"{100 * r['frozen_ratio']:7.1f}%{r['rate_hz']:6.1f}"
                f"{r['age_p50_ms']:9.1f} /{r['age_p95_ms']:5.1f}"
                f"{r['cost_p50_ms']:6.1f} /{r['cost_p95_ms']:4.1f}{r['answers']:9.0f}"
                f"{r['switches']:8.0f}{r['switches_after_occlusion']:8.0f}{r['lost']:6.0f}"
                f"{r['regained']:10.0f}{load:6.1f}",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
