# SPDX-License-Identifier: Apache-2.0
"""Late results are propagated, track ids last, and what is lost is not shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from moving_images import Stage, Thing, iou
from numpy.typing import NDArray

from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Depth
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation
from mllmseg_ros.tracking.decisions import DecisionRule
from mllmseg_ros.tracking.optical_flow import ImageChange
from mllmseg_ros.tracking.tracker import Tracker

RED, BLUE = (200.0, 60.0, 50.0), (50.0, 70.0, 190.0)
SECOND = 1_000_000_000
PERIOD = SECOND // 30


def frame(image: NDArray[np.uint8], stamp_ns: int) -> Frame:
    return Frame(rgb=image, stamp_ns=stamp_ns, frame_id="camera")


def segment(text: str, *masks: NDArray[np.bool_]) -> Segmentation:
    mask = np.any(masks, axis=0)
    status = Status.FOUND if mask.any() else Status.NO_TARGET
    return build_segmentation(text, status, 0.8, 0.9, mask.astype(np.float32), mask)


def infer_at_once(
    tracker: Tracker, image: NDArray[np.uint8], stamp_ns: int, *segmentations: Segmentation
) -> None:
    """Run a model without latency on a new image."""
    tracker.update(frame(image, stamp_ns))
    assert tracker.finish_inference(tracker.begin_inference(), segmentations)


def ids(tracker: Tracker) -> list[str]:
    return [each.track_id for each in tracker.current()]


def test_a_late_result_is_propagated_to_the_newest_image() -> None:
    stage, tracker = Stage([Thing(30, 1, RED)]), Tracker()
    image, (first,) = stage.render([(80, 100)])
    tracker.update(frame(image, 0))
    assert tracker.needs_key_image(0)
    assert tracker.current() == ()
    key = tracker.begin_inference()
    for k in range(1, 16):
        image, (truth,) = stage.render([(80 + 4 * k, 100 + k)], (2 * k, 0))
        tracker.update(frame(image, k * PERIOD))
    assert tracker.current() == ()
    assert tracker.finish_inference(key, [segment("the ball", first)])
    (shown,) = tracker.current()
    assert iou(first, truth) < 0.1
    assert iou(shown.segmentation.mask, truth) > 0.9
    assert shown.propagated
    assert shown.inference_stamp_ns == 0
    assert shown.segmentation.score == 0.8
    assert 0.7 < shown.confidence < 1
    image, (truth,) = stage.render([(80 + 4 * 16, 100 + 16)], (2 * 16, 0))
    tracker.update(frame(image, 16 * PERIOD))
    assert iou(tracker.current()[0].segmentation.mask, truth) > 0.9


def test_a_result_on_the_newest_image_is_shown_as_it_is() -> None:
    stage, tracker = Stage([Thing(30, 1, RED)]), Tracker()
    before = None
    for k in range(5):
        image, (truth,) = stage.render([(80 + 4 * k, 100)])
        result = segment("the ball", truth)
        infer_at_once(tracker, image, k * PERIOD, result)
        (shown,) = tracker.current()
        assert shown.segmentation is not None
        np.testing.assert_array_equal(shown.segmentation.probability, result.probability)
        assert not shown.propagated
        assert shown.confidence == 1
        assert shown.inference_stamp_ns == k * PERIOD
        assert before in (None, shown.track_id)
        before = shown.track_id


def test_an_unchanged_scene_costs_nothing_and_needs_no_inference() -> None:
    stage, tracker = Stage([Thing(30, 1, RED)]), Tracker(key_age_s=0.5)
    image, (truth,) = stage.render([(80, 100)])
    infer_at_once(tracker, image, 0, segment("the ball", truth))
    for k in range(1, 60):
        assert tracker.update(frame(image.copy(), k * PERIOD)) is ImageChange.NONE
        (shown,) = tracker.current()
        assert shown.propagated  # it was not inferred on this image, though it looks the same
        np.testing.assert_array_equal(shown.segmentation.mask, truth)
        assert tracker.needs_key_image(k * PERIOD) == ""
    assert tracker.n_flows == 0
    tracker.update(frame(stage.render([(84, 100)])[0], 60 * PERIOD))
    assert "old" in tracker.needs_key_image(60 * PERIOD)
    assert tracker.n_flows == 1


def test_an_occluded_target_needs_a_new_key_image() -> None:
    stage, tracker = Stage([Thing(30, 1, RED), Thing(40, 2, BLUE)]), Tracker(key_age_s=10)
    image, (ball, _) = stage.render([(100, 100), (250, 100)])
    infer_at_once(tracker, image, 0, segment("the ball", ball))
    tracker.update(frame(stage.render([(103, 100), (250, 100)])[0], PERIOD))
    assert tracker.needs_key_image(PERIOD) == ""  # tracked well, and young
    reason, k = "", 1
    while not reason and k < 60:
        k += 1
        tracker.update(frame(stage.render([(103, 100), (250 - 4 * k, 100)])[0], k * PERIOD))
        reason = tracker.needs_key_image(k * PERIOD)
    assert "the ball" in reason  # the other one covers it
    assert k < 40


@pytest.mark.parametrize("what", ["blank", "cut", "size"])
def test_after_a_cut_nothing_is_shown_until_the_next_inference(what: str) -> None:
    stage, tracker = Stage([Thing(30, 1, RED)]), Tracker(key_age_s=10)
    image, (truth,) = stage.render([(80, 100)])
    infer_at_once(tracker, image, 0, segment("the ball", truth))
    (name,) = ids(tracker)
    other = {
        "blank": np.full_like(image, 120),
        "cut": image[::-1, ::-1].copy(),
        "size": np.ascontiguousarray(image[:200, :300]),
    }[what]
    late = tracker.begin_inference()
    assert tracker.update(frame(other, PERIOD)) is ImageChange.CUT
    (shown,) = tracker.current()
    assert shown.segmentation.status is Status.LOW_CONFIDENCE
    assert shown.segmentation.mask.shape == other.shape[:2]
    assert shown.segmentation.area_px == 0
    assert shown.confidence == 0
    assert "cut" in tracker.needs_key_image(PERIOD)
    assert not tracker.finish_inference(
        late, [segment("the ball", truth)]
    )  # of a scene that is gone
    image, (truth,) = stage.render([(90, 100)])
    infer_at_once(tracker, image, SECOND, segment("the ball", truth))
    (shown,) = tracker.current()
    assert shown.segmentation.status is Status.FOUND
    assert shown.track_id == name  # it was lost, and is back


def test_results_keep_the_order_and_what_is_not_there_stays_so() -> None:
    stage, tracker = Stage([Thing(26, 1, RED), Thing(20, 2, BLUE)]), Tracker()
    image, (red, blue) = stage.render([(80, 100), (200, 100)])
    nothing = np.zeros_like(red)
    unsure = build_segmentation(
        "something", Status.LOW_CONFIDENCE, 0.8, 0.55, 0.55 * blue.astype(np.float32), blue
    )
    results = [segment("the hat", nothing), segment("both", red, blue), unsure, segment("red", red)]
    infer_at_once(tracker, image, 0, *results)
    for k in range(1, 8):
        image, (red, blue) = stage.render([(80 + 2 * k, 100), (200 - 2 * k, 100)])
        tracker.update(frame(image, k * PERIOD))
    shown = tracker.current()
    places = [(each.expression_index, each.instance_index) for each in shown]
    assert places == [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    statuses = [each.segmentation.status for each in shown]
    found = Status.FOUND
    assert statuses == [Status.NO_TARGET, found, found, Status.LOW_CONFIDENCE, found]
    assert [bool(each.track_id) for each in shown] == [False, True, True, False, True]
    for each, truth in ((shown[1], red), (shown[2], blue), (shown[3], blue), (shown[4], red)):
        assert iou(each.segmentation.mask, truth) > 0.85
    assert len({each.track_id for each in shown if each.track_id}) == 3


def crossing(
    tracker: Tracker, paths: Sequence[NDArray[np.float64]], every: int, late: int
) -> list[dict[int, str]]:
    """Things of one expression on their paths; which of them had which id, frame by frame."""
    stage = Stage([Thing(22, 7 + k, RED) for k in range(len(paths))])
    begun: dict[int, tuple[int, list[NDArray[np.bool_]]]] = {}
    history = []
    for k in range(len(paths[0])):
        image, truths = stage.render([tuple(path[k]) for path in paths])
        tracker.update(frame(image, k * PERIOD))
        if k % every == 0:
            begun[k + late] = tracker.begin_inference(), [t for t in truths if t.sum() > 100]
        if k in begun:
            key, seen = begun[k]
            tracker.finish_inference(key, [segment("the balls", *seen)])
        owner: dict[int, str] = {}
        for each in tracker.current():
            for thing, truth in enumerate(truths):
                if iou(each.segmentation.mask, truth) > 0.5:
                    owner[thing] = each.track_id
        history.append(owner)
    return history


def test_two_of_one_name_that_pass_near_each_other_keep_their_ids() -> None:
    n = 90
    right = np.stack([np.linspace(50, 270, n), np.full(n, 90.0)], axis=-1)
    left = np.stack([np.linspace(270, 50, n), np.full(n, 140.0)], axis=-1)
    history = crossing(Tracker(), [right, left], every=15, late=14)
    for thing in (0, 1):
        names = [owner[thing] for owner in history if thing in owner]
        assert len(set(names)) == 1
        assert len(names) > 0.95 * (n - 14)
    assert history[-1][0] != history[-1][1]


def test_one_that_passes_behind_another_of_its_name_keeps_its_id() -> None:
    n = 90
    behind = np.stack([np.linspace(60, 260, n), np.full(n, 120.0)], axis=-1)
    front = np.stack([np.full(n, 160.0), np.full(n, 145.0)], axis=-1)
    history = crossing(Tracker(), [behind, front], every=15, late=14)
    for thing in (0, 1):
        assert len({owner[thing] for owner in history if thing in owner}) == 1
    assert history[-1].keys() == {0, 1}


def test_a_lost_target_is_regained_near_its_place_and_soon_or_is_another() -> None:
    stage = Stage([Thing(26, 1, RED)])
    image, (ball,) = stage.render([(100, 100)])
    empty, nothing = Stage([]).render([])[0], np.zeros_like(ball)
    moved, (near,) = stage.render([(130, 110)])
    away, (far,) = stage.render([(280, 200)])

    def came_back(after_s: int, later: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
        tracker = Tracker()
        infer_at_once(tracker, image, 0, segment("the ball", ball))
        (name,) = ids(tracker)
        infer_at_once(tracker, empty, SECOND, segment("the ball", nothing))
        assert ids(tracker) == [""]
        infer_at_once(tracker, later, (1 + after_s) * SECOND, segment("the ball", mask))
        return ids(tracker) == [name]

    assert came_back(1, moved, near)
    assert not came_back(1, away, far)
    assert not came_back(20, moved, near)


def test_a_new_command_shows_nothing_old_and_the_same_words_keep_the_same_target() -> None:
    stage, tracker = Stage([Thing(26, 1, RED), Thing(20, 2, BLUE)]), Tracker()
    image, (red, blue) = stage.render([(80, 100), (200, 100)])
    infer_at_once(tracker, image, 0, segment("the red ball", red), segment("the blue ball", blue))
    red_id, blue_id = ids(tracker)
    tracker.clear()
    assert tracker.current() == ()
    assert tracker.needs_key_image(0)
    key = tracker.begin_inference()
    image, _ = stage.render([(82, 100), (202, 100)])
    tracker.update(frame(image, PERIOD))
    tracker.finish_inference(key, [segment("the ball", blue), segment("the red ball", red)])
    other, again = ids(tracker)
    assert again == red_id
    assert other not in (red_id, blue_id)
    tracker.reset()
    assert tracker.current() == ()
    assert not tracker.finish_inference(key, [segment("the red ball", red)])
    infer_at_once(tracker, image, 0, segment("the red ball", red))
    assert not {red_id, blue_id, other} & set(ids(tracker))


def test_depth_tells_what_passes_in_front_from_the_target() -> None:
    """Two of one colour and pattern: no image shows where one ends and the other begins."""
    stage, tracker = Stage([Thing(30, 1, RED), Thing(20, 1, RED)]), Tracker()
    K = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])

    def seen(at: int, k: int) -> tuple[NDArray[np.bool_], Depth]:
        image, (behind, front) = stage.render([(150, 110), (at, 110)])
        metres = np.full(behind.shape, 1.2, np.float32)
        metres[behind], metres[front] = 0.9, 0.6
        depth = Depth(metres=metres, intrinsics=Intrinsics(K=K, D=np.zeros(5)))
        tracker.update(frame(image, k * PERIOD), depth)
        return behind, depth

    truth, depth = seen(60, 0)
    tracker.finish_inference(tracker.begin_inference(), [segment("the ball", truth)], depth)
    for k in range(1, 31):
        truth, _ = seen(60 + 3 * k, k)
        (shown,) = tracker.current()
        assert iou(shown.segmentation.mask, truth) > 0.85


CONFIRM_TWO = DecisionRule(confirm_inferences=2)


def infer_with_memory(
    tracker: Tracker,
    image: NDArray[np.uint8],
    k: int,
    score: float,
    *masks: NDArray[np.bool_],
    rule: DecisionRule = CONFIRM_TWO,
) -> list[Status]:
    """Run a model without latency on the k-th image; returns the statuses of the instances."""
    mask = np.any(masks, axis=0)
    status = Status.FOUND if score >= 0.5 else Status.NO_TARGET
    one = build_segmentation("the balls", status, score, 0.9, mask.astype(np.float32), mask)
    tracker.update(frame(image, k * SECOND))
    assert tracker.finish_inference(tracker.begin_inference(), [one], None, rule)
    return [each.segmentation.status for each in tracker.current()]


def test_a_single_inference_does_not_change_a_decision() -> None:
    stage, tracker = Stage([Thing(26, 1, RED)]), Tracker()
    statuses = []
    for k, score in enumerate([0.1, 0.8, 0.2, 0.9, 0.9, 0.45, 0.9, 0.2, 0.1]):
        image, (ball,) = stage.render([(80 + 2 * k, 100)])
        statuses += infer_with_memory(tracker, image, k, score, ball)
    found, absent = Status.FOUND, Status.NO_TARGET
    assert statuses == [absent] * 4 + [found] * 4 + [absent]


def test_a_cut_needs_confidence_or_confirmation_anew() -> None:
    stage, tracker = Stage([Thing(26, 1, RED)]), Tracker()
    image, (ball,) = stage.render([(80, 100)])
    assert infer_with_memory(tracker, image, 0, 0.97, ball) == [Status.FOUND]
    other, cut = image[::-1, ::-1].copy(), ball[::-1, ::-1].copy()
    assert infer_with_memory(tracker, other, 1, 0.45, cut) == [Status.LOW_CONFIDENCE]
    assert infer_with_memory(tracker, image, 2, 0.97, ball) == [Status.FOUND]


def test_an_open_decision_needs_an_inference_on_a_still_image_too() -> None:
    stage, tracker = Stage([Thing(26, 1, RED)]), Tracker(key_age_s=10)
    image, (ball,) = stage.render([(80, 100)])
    assert infer_with_memory(tracker, image, 0, 0.7, ball) == [Status.LOW_CONFIDENCE]
    (shown,) = tracker.current()
    assert shown.segmentation.unconfirmed
    assert tracker.needs_key_image(SECOND) == ""  # there is no later image
    tracker.update(frame(image.copy(), SECOND // 10))
    assert tracker.needs_key_image(SECOND // 10) == ""
    tracker.update(frame(image.copy(), SECOND // 2))
    assert "confirmed" in tracker.needs_key_image(SECOND // 2)
    assert infer_with_memory(tracker, image.copy(), 1, 0.9, ball) == [Status.FOUND]
    tracker.update(frame(image.copy(), 2 * SECOND))
    assert tracker.needs_key_image(2 * SECOND) == ""


def count_instances(
    seen: Sequence[Sequence[int]], rule: DecisionRule = CONFIRM_TWO
) -> list[list[int]]:
    """Infer on images of three balls, of which each inference shows some; which are published."""
    stage = Stage([Thing(24, k, RED) for k in range(3)])
    tracker, published = Tracker(), []
    for k, shown in enumerate(seen):
        image, balls = stage.render([(60 + k, 100), (160 + k, 100), (260 + k, 100)])
        infer_with_memory(tracker, image, k, 0.99, *(balls[i] for i in shown), rule=rule)
        masks = [each.segmentation.mask for each in tracker.current()]
        assert [each.instance_index for each in tracker.current()] == list(range(len(masks)))
        published.append(
            [i for i, ball in enumerate(balls) if any(iou(mask, ball) > 0.7 for mask in masks)]
        )
        assert len(published[-1]) == len(masks)
    return published


def test_the_number_of_instances_does_not_follow_a_single_inference() -> None:
    seen = [[0], [0, 1], [0], [0, 1, 2], [0, 1], [0], [0, 1], [0], [0], [2]]
    assert count_instances(seen) == [
        [0], [0], [0], [0], [0, 1], [0, 1], [0, 1], [0, 1], [0], [0],
    ]  # fmt: skip
    assert count_instances(seen, DecisionRule(confirm_inferences=1)) == seen


def test_a_first_result_has_all_instances_at_once() -> None:
    assert count_instances([[0, 1, 2], [0, 2]]) == [[0, 1, 2], [0, 1, 2]]


def test_another_thing_takes_over_after_two_inferences() -> None:
    assert count_instances([[0], [1], [1], [1]]) == [[0], [0], [1], [1]]


def test_a_part_that_is_split_off_once_stays_with_its_thing() -> None:
    stage, tracker = Stage([Thing(40, 1, RED)]), Tracker()
    image, (ball,) = stage.render([(150, 110)])
    split = ball.copy()
    split[:, 158:164] = False
    shown = []
    for k, mask in enumerate([ball, split, ball, split, split, split, ball, ball]):
        infer_with_memory(tracker, image, k, 0.99, mask)
        shown.append([each.segmentation.area_px for each in tracker.current()])
    whole, rest = int(ball.sum()), int(split.sum())
    assert shown[:4] == [[whole], [rest], [whole], [rest]]  # the piece is not lost
    assert [len(areas) for areas in shown] == [1, 1, 1, 1, 2, 2, 2, 1]
    # What is shown as one again is still two instances for once.
    assert sum(shown[6]) == whole


def test_why_something_is_not_found_survives_splitting_and_tracking() -> None:
    stage, tracker = Stage([Thing(26, 1, RED), Thing(20, 2, BLUE)]), Tracker()
    image, (red, blue) = stage.render([(80, 100), (200, 100)])
    reason = "m was not trained on 'zyzzyva'"
    results = [
        build_segmentation(
            "zyzzyva", Status.LOW_CONFIDENCE, 0.9, 0.9, red.astype(np.float32), red, reason
        ),
        build_segmentation(
            "no zyzzyva", Status.NO_TARGET, 0.1, 0.9, blue.astype(np.float32), blue, reason
        ),
        segment("balls", red, blue),
    ]
    infer_at_once(tracker, image, 0, *results)
    for k in range(4):
        doubts = [each.segmentation.doubt for each in tracker.current()]
        assert doubts == [reason, reason, "", ""]
        image, _ = stage.render([(82 + 2 * k, 100), (202 + 2 * k, 100)])
        tracker.update(frame(image, (k + 1) * PERIOD))
    tracker.update(frame(image[::-1, ::-1].copy(), SECOND))  # a cut
    lost = "lost since the last inference"
    doubts = [each.segmentation.doubt for each in tracker.current()]
    assert doubts == [f"{reason}; {lost}", reason, lost, lost]
