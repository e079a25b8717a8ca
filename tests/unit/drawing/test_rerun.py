# SPDX-License-Identifier: Apache-2.0
"""A Rerun recording written and read back, without ROS."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rerun", reason="needs rerun-sdk: requirements/view.txt")

import rerun.chunk

from mllmseg_ros.drawing.overlay import choose_colors
from mllmseg_ros.drawing.rerun import Box, LoggedSegmentation, RerunLog
from mllmseg_ros.segmentation import Status, build_segmentation

NS = 1_700_000_000_123_456_789
CAMERA, BASE = "camera_optical_frame", "base_link"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Record batches by entity, of one image with two segmentations, points and transforms."""
    path = tmp_path_factory.mktemp("rerun") / "log.rrd"
    mask = np.zeros((60, 80), np.bool_)
    mask[10:20, 30:50] = True
    nothing = np.zeros_like(mask)
    mug = build_segmentation("the mug", Status.FOUND, 0.9, 0.8, mask.astype(np.float32), mask)
    no_bowl = build_segmentation(
        "a/b", Status.NO_TARGET, float("nan"), 0.0, nothing.astype(np.float32), nothing
    )
    box = Box(frame_id=BASE, center=(1, 2, 3), size=(0.1, 0.2, 0.3), quaternion=(0, 0, 0, 1))
    log = RerunLog(path)
    log.log_command(NS - 1, "the mug; a/b")
    log.log_image(NS, CAMERA, np.full((60, 80, 3), 90, np.uint8))
    log.log_intrinsics(NS, CAMERA, np.diag([50.0, 50.0, 1.0]), (60, 80))
    segmentations = [
        LoggedSegmentation(segmentation=mug, track_id="t3", box=box),
        LoggedSegmentation(segmentation=no_bowl),
    ]
    log.log_segmentations(NS, CAMERA, (60, 80), "1 of 2 found", segmentations)
    log.log_points(NS, BASE, np.ones((5, 3), np.float32), np.zeros((5, 3), np.uint8))
    log.log_transform(None, BASE, CAMERA, (0, 0, 1), (0, 0, 0, 1))
    log.log_transform(NS, "map", BASE, (4, 0, 0), (0, 0, 0, 1))
    log.log_segmentations(NS + 5, CAMERA, (60, 80), "0 of 1 found", segmentations[1:])
    log.close()
    held: dict[str, list[Any]] = {}
    for chunk in rerun.chunk.RrdReader(path).stream():
        held.setdefault(chunk.entity_path, []).append(chunk.to_record_batch())
    return held


def column(held: dict[str, list[Any]], entity: str, name: str) -> list[Any]:
    """Values of a component, in the order written."""
    values: list[Any] = []
    for batch in held[entity]:
        values += [v for n in batch.schema.names if n.endswith(name) for v in batch[n].to_pylist()]
    return [value for value in values if value is not None]


def test_everything_is_logged_at_its_stamp(held: dict[str, list[Any]]) -> None:
    for entity in ("/camera/image", "/camera/lens", "/scene/target", "/tf/base_link"):
        (batch,) = held[entity]
        assert batch["stamp"].to_numpy(zero_copy_only=False).astype(int).tolist() == [NS]
    assert "stamp" not in held["/tf/camera_optical_frame"][0].schema.names


def test_masks_carry_names_and_the_overlay_s_colours(held: dict[str, list[Any]]) -> None:
    labels = np.array(column(held, "/camera/answer", "SegmentationImage:buffer")[0][0])
    assert (np.bincount(labels.reshape(-1)) == [60 * 80 - 200, 200]).all()
    classes = column(held, "/camera/answer", "AnnotationContext:context")[0][0]
    named = {each["class_id"]: each["class_description"]["info"] for each in classes}
    assert [named[i]["label"] for i in (1, 2)] == ["the mug t3", "a/b"]
    assert named[1]["color"] >> 8 == int.from_bytes(bytes(choose_colors(["t3", ""])[0]))


def test_scores_boxes_frames_and_words(held: dict[str, list[Any]]) -> None:
    assert column(held, "/scores/the\\ mug", "Scalars:scalars") == [[0.9]]
    assert column(held, "/scores/a\\/b", "Scalars:scalars") == [[0.0], [0.0]]
    assert column(held, "/scene/boxes", "Boxes3D:labels") == [["the mug t3"]]
    assert column(held, "/scene/boxes", "CoordinateFrame:frame") == [[BASE]]
    assert column(held, "/camera/lens", "Pinhole:parent_frame") == [[CAMERA]]
    assert column(held, "/camera/image", "CoordinateFrame:frame") == column(
        held, "/camera/lens", "Pinhole:child_frame"
    )
    assert column(held, "/tf/base_link", "Transform3D:parent_frame") == [["map"]]
    assert column(held, "/answers", "TextLog:text") == [["1 of 2 found"], ["0 of 1 found"]]
    assert column(held, "/commands", "TextLog:text") == [["the mug; a/b"]]
    # The second result has no box: the first one's does not stay.
    assert len(column(held, "/scene/boxes", "Clear:is_recursive")) == 1


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        RerunLog(tmp_path / "nowhere" / "x.rrd")


def test_without_rerun_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.delitem(sys.modules, "mllmseg_ros.drawing.rerun")
    with pytest.raises(ValueError, match=r"install rerun-sdk: pip install 'mllmseg_ros\[view\]'"):
        importlib.import_module("mllmseg_ros.drawing.rerun")


def test_a_link_is_replaced_and_a_folder_refused(tmp_path: Path) -> None:
    victim = tmp_path / "bashrc"
    victim.write_text("mine")
    path = tmp_path / "log.rrd"
    path.symlink_to(victim)
    log = RerunLog(path)
    log.log_command(NS, "the mug")
    log.close()
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert path.stat().st_size > 100
    with pytest.raises(ValueError, match="not a regular file"):
        RerunLog(tmp_path)
