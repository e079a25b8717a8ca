# SPDX-License-Identifier: Apache-2.0
"""Draw docs/demo.webp: commands, masks and a grasp on the simulated table, as an animation.

    PYTHONPATH=. .venv/bin/python tools/draw_demo_image.py [docs/demo.webp]

The embedded model segments the simulated camera image, the position comes from simulated stereo
depth, and the physics decides whether the gripper lifts what was named. Everything is computed from
the scene's seed; nothing is drawn by hand but the captions.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.drawing.text import draw_text, render_text
from mllmseg_ros.geometry.grasp import Grasp, Gripper, plan_grasp
from mllmseg_ros.geometry.instances import Depth, Instance, locate_instances
from mllmseg_ros.geometry.localization import Intrinsics, unit_depth_rays
from mllmseg_ros.language.command import Command
from mllmseg_ros.language.conversation import LANGUAGES, understand
from mllmseg_ros.segmentation import Segmentation, build_segmentation
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera, Viewpoint
from mllmseg_ros.sim.depth_noise import add_stereo_noise
from mllmseg_ros.sim.gripper_world import GripperWorld
from mllmseg_ros.sim.pick_scenes import pick_scene
from mllmseg_ros.sim.view import View

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "demo.webp"
# The scene of `make demo ARGS=--pick`, and two commands: one thing is there, one is not.
SEED, ON_THE_TABLE = 22, (("red", "mug"), ("red", "cube"), ("blue", "bowl"))
ABSENT, PRESENT = "pick up the green mug", "put the red cube in the bowl"

FRAME_S = 0.1
AIM_UP_M = 0.13  # over the table, of the side view
SPEED_UP = 2.5  # of the gripper, so that the animation stays short
LEFT_WH, RIGHT_WH, GAP_PX, BAR_PX = (384, 288), (252, 288), 4, 34
CAPTION_PX = 18
QUALITY = 80  # of WebP
WHITE, GREY, GREEN, DARK = (255, 255, 255), (150, 155, 160), (120, 220, 150), (24, 26, 28)
FINGERS_RGB = (255, 255, 255)

# Of the gripper's joints x, y, z, yaw, opening per second; pause at each waypoint; as in
# examples/pick_and_place.py.
JOINT_SPEED, PAUSE_S = (0.5, 0.5, 0.4, 2.0, 0.1), 0.2
TRAVEL_M, LIFTED_M = 0.45, 0.35  # of the fingertips over the table

Image = NDArray[np.uint8]


class Stage:
    """The simulated table with camera, gripper and model, and the frames drawn of it so far."""

    def __init__(self, camera: TabletopCamera, segmenter: Segmenter) -> None:
        """Build the scene; the camera's GL context is used throughout."""
        self.world = GripperWorld(pick_scene(SEED, ON_THE_TABLE))
        self.frames: list[Image] = []
        self._camera, self._segmenter = camera, segmenter
        self._rng = np.random.default_rng(SEED)
        camera.load_world(self.world.scene, self.world.model, self.world.data)
        scene = self.world.scene
        ahead = scene.camera.rotation[:, 2]
        self._aim_m = tuple(np.mean([(*each.xy_m, AIM_UP_M) for each in scene.objects], axis=0))
        self._viewpoint = Viewpoint(
            distance_m=0.95,
            azimuth_rad=math.atan2(ahead[1], ahead[0]) + 1.4,
            elevation_rad=0.45,
        )

    def type_command(self, text: str) -> None:
        """Let the command appear letter by letter."""
        image = self.render()
        for count in range(2, len(text) + 1, 2):
            self.show(image, f"{text[:count]}_", "")
        self.show(image, text, "", hold_s=0.4)

    def segment(self, text: str) -> tuple[View, Command, list[Instance], Depth]:
        """Segment the camera image, and measure what was found."""
        command = understand(text, LANGUAGES["en"]).command
        view = self._camera.render(describe=False)
        metres = add_stereo_noise(view.depth_m, float(view.K[0, 0]), self._rng)
        depth = Depth(metres=metres, intrinsics=Intrinsics(K=view.K, D=np.zeros(5)))
        segmentations = self._segmenter(view.rgb, command.expressions)
        return view, command, locate_instances(segmentations, depth), depth

    def move(self, waypoints: NDArray[np.float64], text: str, captions: Sequence[str]) -> None:
        """Send the gripper along waypoints (K, 5), each with a caption for the way to it."""
        ways_s = np.abs(np.diff(waypoints, axis=0, prepend=self.world.home[None])) / JOINT_SPEED
        times_s = np.cumsum(ways_s.max(axis=1) + PAUSE_S)
        self.world.follow(times_s, waypoints)
        for now_s in np.arange(FRAME_S * SPEED_UP, times_s[-1], FRAME_S * SPEED_UP):
            self.world.step(FRAME_S * SPEED_UP)
            caption = captions[int(np.searchsorted(times_s, now_s))]
            self.show(self.render(), text, caption)

    def render(self) -> Image:
        """Camera image as it is now, at the size of its panel."""
        return resize_image(self._camera.render(describe=False).rgb)

    def show(self, image: Image, text: str, caption: str, hold_s: float = FRAME_S) -> None:
        """Add frames with a camera image, or a drawing over it, of its panel's size."""
        side = self._camera.photograph(self._aim_m, self._viewpoint)
        frame = compose(image, side, text, caption)
        self.frames += [frame] * round(hold_s / FRAME_S)


def overlay(view: View, instances: Sequence[Instance]) -> Image:
    """Draw masks, names and distances over the camera image, as the node does."""
    distances = [
        None if each.position is None else float(np.linalg.norm(each.position.mean))
        for each in instances
    ]
    segmentations = [resize_segmentation(each.segmentation) for each in instances]
    # At the size it is shown at, or the labels could not be read.
    return draw_overlay(resize_image(view.rgb), segmentations, (), distances, tint=0.0)


def resize_image(rgb: Image) -> Image:
    """Scale a camera image to its panel."""
    return np.asarray(cv2.resize(rgb, LEFT_WH, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def resize_segmentation(segmentation: Segmentation) -> Segmentation:
    """Scale a segmentation of the camera image to its panel."""
    return build_segmentation(
        segmentation.expression,
        segmentation.status,
        segmentation.score,
        segmentation.mask_score,
        np.asarray(cv2.resize(segmentation.probability, LEFT_WH), dtype=np.float32),
        cv2.resize(segmentation.mask.astype(np.uint8), LEFT_WH) > 0,
    )


def compose(left: Image, side: Image, text: str, caption: str) -> Image:
    """Put command, camera image, side view and caption into one frame (H, W, 3)."""
    height, width = side.shape[:2]
    cut = round(height * RIGHT_WH[0] / RIGHT_WH[1])
    start = (width - cut) // 2
    cropped = np.ascontiguousarray(side[:, start : start + cut])
    right = cv2.resize(cropped, RIGHT_WH, interpolation=cv2.INTER_AREA)
    bar = np.full((BAR_PX, LEFT_WH[0] + GAP_PX + RIGHT_WH[0], 3), DARK, np.uint8)
    gap = np.full((LEFT_WH[1], GAP_PX, 3), DARK, np.uint8)
    bars = bar.copy(), bar.copy()
    top = (BAR_PX - render_text("", CAPTION_PX).shape[0]) // 2
    prompt_px = draw_text(bars[0], "command: ", (10, top), GREY, CAPTION_PX)
    draw_text(bars[0], text, (10 + prompt_px, top), WHITE, CAPTION_PX)
    draw_text(bars[1], caption, (10, top), GREEN, CAPTION_PX)
    return np.vstack([bars[0], np.hstack([left, gap, right]), bars[1]]).astype(np.uint8)


def table_points(points: NDArray[np.floating], view: View) -> NDArray[np.float64]:
    """Transform points (N, 3) of the camera's optical frame into the table's frame."""
    pose = view.camera_pose
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def draw_grasp(image: Image, view: View, grasp: Grasp, gripper: Gripper) -> Image:
    """Draw the two fingers of a grasp into the camera image."""
    closing = np.array([math.cos(grasp.yaw_rad), math.sin(grasp.yaw_rad), 0.0])
    upwards = np.array([0.0, 0.0, gripper.finger_length_m])
    drawn = image.copy()
    corners = []
    for side in (-0.5, 0.5):
        tip = grasp.tip_m + side * grasp.opening_m * closing
        ends = project(np.array([tip, tip + upwards]), view)
        cv2.line(drawn, ends[0], ends[1], FINGERS_RGB, 4, cv2.LINE_AA)
        corners.append(ends[1])
    cv2.line(drawn, corners[0], corners[1], FINGERS_RGB, 4, cv2.LINE_AA)
    return drawn


def project(points: NDArray[np.float64], view: View) -> list[tuple[int, int]]:
    """Pixels in the panel of points (N, 3) in the table's frame."""
    pose = view.camera_pose
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = in_camera @ view.K.T
    scale = LEFT_WH[0] / view.rgb.shape[1]
    return [(round(u / z * scale), round(v / z * scale)) for u, v, z in pixels]


def plan(
    view: View,
    command: Command,
    instances: Sequence[Instance],
    depth: Depth,
    home: NDArray[np.float64],
) -> tuple[Grasp, NDArray[np.float64], list[str]]:
    """Plan waypoints (K, 5) from the first target into the second, with a caption each."""
    target, container = (each.position for each in instances)
    assert target is not None
    assert container is not None
    z = depth.metres
    union = np.logical_or.reduce([each.segmentation.mask for each in instances])
    v, u = np.nonzero(np.isfinite(z) & ~union)
    rest = table_points((unit_depth_rays(u, v, depth.intrinsics) * z[v, u]).T, view)
    points, rim = table_points(target.points, view), table_points(container.points, view)
    grasp = plan_grasp(points, rest, Gripper())
    (x, y, tip), yaw, wide = grasp.tip_m, grasp.yaw_rad, grasp.opening_m
    dx, dy = middle_xy(rim) - middle_xy(points)
    over, drop = (x + dx, y + dy), tip + rim[:, 2].max()
    pick, place = (each.expression for each in command.targets)
    steps = [
        ((x, y, TRAVEL_M, yaw, wide), f"pick: {pick}"),
        ((x, y, tip, yaw, wide), f"pick: {pick}"),
        ((x, y, tip, yaw, 0.0), f"pick: {pick}"),
        ((x, y, LIFTED_M, yaw, 0.0), f"pick: {pick}"),
        ((*over, TRAVEL_M, yaw, 0.0), f"place: {place}"),
        ((*over, drop, yaw, 0.0), f"place: {place}"),
        ((*over, drop, yaw, wide), f"place: {place}"),
        ((*over, TRAVEL_M, yaw, wide), f"place: {place}"),
        (tuple(home), f"place: {place}"),
    ]
    return grasp, np.array([each for each, _ in steps]), [caption for _, caption in steps]


def middle_xy(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle of the points' extent on the table, (2,)."""
    return np.asarray((points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2)


def draw_frames() -> list[Image]:
    """Play the whole scene.

    Raises:
        ValueError: if a thing is found that is not there, or the cube is not in the bowl at the
            end: the animation must not show what did not happen.
    """
    with TabletopCamera() as camera:
        stage = Stage(camera, Segmenter.from_pretrained())
        stage.type_command(ABSENT)
        view, _, instances, _ = stage.segment(ABSENT)
        if any(each.segmentation.found for each in instances):
            raise ValueError(f"{ABSENT!r}: found")
        stage.show(overlay(view, instances), ABSENT, "not there: nothing moves", 1.4)

        stage.type_command(PRESENT)
        view, command, instances, depth = stage.segment(PRESENT)
        masks = overlay(view, instances)
        stage.show(masks, PRESENT, command.text, 1.6)
        grasp, waypoints, captions = plan(view, command, instances, depth, stage.world.home)
        with_grasp = draw_grasp(masks, view, grasp, Gripper())
        tip = ", ".join(f"{each:.3f}" for each in grasp.tip_m)
        stage.show(with_grasp, PRESENT, f"grasp at ({tip}) m", 1.2)
        stage.move(waypoints, PRESENT, captions)
        stage.world.step(0.5)
        names = [f"{each.color} {each.kind}" for each in stage.world.scene.objects]
        cube, bowl = names.index("red cube") + 1, names.index("blue bowl") + 1
        if not stage.world.is_inside(cube, bowl):
            raise ValueError("the cube is not in the bowl")
        stage.show(stage.render(), PRESENT, "the red cube is in the bowl", 1.5)
        return stage.frames


def merge_repeats(frames: Sequence[Image]) -> Iterator[tuple[Image, int]]:
    """Each different frame with the milliseconds that it stays."""
    start = 0
    for index in range(1, len(frames) + 1):
        if index == len(frames) or not np.array_equal(frames[index], frames[start]):
            yield frames[start], round(1000 * FRAME_S) * (index - start)
            start = index


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    merged = list(merge_repeats(draw_frames()))
    first, *others = (PIL.Image.fromarray(frame) for frame, _ in merged)
    durations_ms = [duration_ms for _, duration_ms in merged]
    first.save(
        arguments.output,
        save_all=True,
        append_images=others,
        duration=durations_ms,
        loop=0,
        quality=QUALITY,
        method=6,
    )
    size_kb = arguments.output.stat().st_size / 1000
    print(f"{arguments.output}: {sum(durations_ms) / 1000:.1f} s, {size_kb:.0f} kB")


if __name__ == "__main__":
    main()
