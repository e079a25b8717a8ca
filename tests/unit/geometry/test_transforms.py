# SPDX-License-Identifier: Apache-2.0
"""A tree of frames with a short past: places at any moment in it, and clear words outside it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mllmseg_ros.geometry.transforms import (
    TransformBuffer,
    TransformError,
    TransformExpiredError,
    invert_transform,
    pose_to_matrix,
    slerp,
)

SECOND = 1_000_000_000
STILL = (0.0, 0.0, 0.0, 1.0)


def about_z(angle: float) -> tuple[float, ...]:
    return (0.0, 0.0, float(np.sin(angle / 2)), float(np.cos(angle / 2)))


def turned(angle: float) -> np.ndarray:
    return cv2.Rodrigues(np.array([0.0, 0.0, angle]))[0]


def random_pose(rng: np.random.Generator) -> tuple[list[float], list[float]]:
    quaternion = rng.normal(size=4)
    return rng.normal(size=3).tolist(), (quaternion / np.linalg.norm(quaternion)).tolist()


def test_a_matrix_says_what_the_quaternion_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        translation, quaternion = random_pose(rng)
        matrix = pose_to_matrix(translation, quaternion)
        x, y, z, w = quaternion
        angle = 2 * np.arccos(np.clip(w, -1, 1))
        axis = np.array([x, y, z]) / np.sin(angle / 2)
        np.testing.assert_allclose(matrix[:3, :3], cv2.Rodrigues(axis * angle)[0], atol=1e-9)
        np.testing.assert_allclose(matrix[:3, 3], translation)
        np.testing.assert_allclose(invert_transform(matrix) @ matrix, np.eye(4), atol=1e-12)


def test_any_two_frames_of_a_tree_are_connected_through_their_common_parent() -> None:
    """Against the product of the matrices from the root."""
    rng = np.random.default_rng(1)
    buffer, from_frame = TransformBuffer(), {"f0": np.eye(4)}
    for index in range(1, 20):
        parent, child = f"f{rng.integers(index)}", f"f{index}"
        translation, quaternion = random_pose(rng)
        static = bool(index % 3)
        buffer.put(parent, child, 5 * SECOND, translation, quaternion, static=static)
        from_frame[child] = from_frame[parent] @ pose_to_matrix(translation, quaternion)
    for target, source in rng.integers(20, size=(60, 2)):
        expected = np.linalg.inv(from_frame[f"f{target}"]) @ from_frame[f"f{source}"]
        found = buffer.lookup(f"f{target}", f"f{source}", 5 * SECOND)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_between_two_stamps_a_frame_moves_and_turns_at_constant_speed() -> None:
    buffer = TransformBuffer()
    for second in (3, 1, 2):  # late ones too
        buffer.put("base", "hand", second * SECOND, (second, 0, 0), about_z(second))
    for at in (1.0, 1.25, 2.0, 2.9):
        matrix = buffer.lookup("base", "hand", int(at * SECOND))
        np.testing.assert_allclose(matrix[:3, 3], [at, 0, 0], atol=1e-9)
        np.testing.assert_allclose(matrix[:3, :3], turned(at), atol=1e-9)
    # What comes a second time replaces the first; a quaternion is brought to length 1, as by tf2.
    buffer.put("base", "hand", 3 * SECOND, (9, 0, 0), (0, 0, 0, 2))
    np.testing.assert_allclose(buffer.lookup("base", "hand", 3 * SECOND)[:, 3], [9, 0, 0, 1])
    np.testing.assert_allclose(buffer.lookup("base", "hand", 3 * SECOND)[:3, :3], np.eye(3))


def test_the_short_way_round() -> None:
    near, far = about_z(0.2), tuple(-value for value in about_z(0.6))
    np.testing.assert_allclose(np.abs(slerp(near, far, 0.5)), about_z(0.4), atol=1e-12)
    np.testing.assert_allclose(slerp(near, near, 0.3), near, atol=1e-12)
    half = slerp(about_z(0.0), about_z(np.pi), 0.5)
    np.testing.assert_allclose(half, about_z(np.pi / 2), atol=1e-12)


def test_outside_of_what_is_known_the_times_are_named() -> None:
    buffer = TransformBuffer()
    buffer.put("base", "rail", 1, (0, 0, 1), STILL, static=True)
    for second in (10, 11):
        buffer.put("rail", "hand", second * SECOND, (0, 0, 0), STILL)
    with pytest.raises(
        TransformError,
        match=r"'hand' in 'rail' is known from 10.000 s to 11.000 s; 11.500 s is 0.500 s into",
    ) as late:
        buffer.lookup("base", "hand", 11 * SECOND + SECOND // 2)
    assert not isinstance(late.value, TransformExpiredError)
    with pytest.raises(TransformExpiredError, match=r"9.000 s is 1.000 s into the past"):
        buffer.lookup("hand", "base", 9 * SECOND)
    assert buffer.lookup("base", "rail", 10**18)[2, 3] == 1  # static: at any time


def test_unknown_and_unconnected_frames_are_named() -> None:
    buffer = TransformBuffer()
    with pytest.raises(TransformError, match="frame 'base' is unknown; known: none"):
        buffer.lookup("base", "camera", 1)
    buffer.put("base", "hand", 1, (0, 0, 0), STILL)
    buffer.put("world", "table", 1, (0, 0, 0), STILL)
    with pytest.raises(
        TransformError, match="frame 'camera' is unknown; known: 'base', 'hand', 'table', 'world'"
    ):
        buffer.lookup("base", "camera", 1)
    with pytest.raises(TransformError, match="one is in the tree of 'base', the other in that of"):
        buffer.lookup("hand", "table", 1)


def test_the_past_is_bounded() -> None:
    buffer = TransformBuffer(history_ns=2 * SECOND)
    for tenth in range(100):
        buffer.put("base", "hand", tenth * SECOND // 10, (0, 0, 0), STILL)
    with pytest.raises(TransformExpiredError, match=r"known from 7.900 s to 9.900 s"):
        buffer.lookup("base", "hand", SECOND)
    buffer.put("base", "arm", 0, (0, 0, 0), STILL)
    buffer.put("base", "arm", 2 * SECOND, (2, 0, 0), STILL)
    buffer.put("base", "arm", 3 * SECOND, (3, 0, 0), STILL)
    assert buffer.lookup("base", "arm", SECOND)[0, 3] == 1  # 2 s ago, between the first two
    with pytest.raises(ValueError, match=r"4.900 s older than its newest"):
        buffer.put("base", "hand", 5 * SECOND, (0, 0, 0), STILL)


@pytest.mark.threat("N7")
def test_a_pose_stamped_years_ahead_neither_freezes_its_frame_nor_is_interpolated_to() -> None:
    """Without a clock, as in a bag: the poses that go on say that it was wrong."""
    buffer, years = TransformBuffer(), 50 * 365 * 86_400 * SECOND
    for tenth in range(10):
        buffer.put("base", "hand", 100 * SECOND + tenth * SECOND // 10, (tenth, 0, 0), STILL)
    buffer.put("base", "hand", years, (1e6, 0, 0), STILL)
    with pytest.raises(TransformError, match=r"'hand' in 'base' is not known at 105\.000 s") as gap:
        buffer.lookup("base", "hand", 105 * SECOND)
    assert not isinstance(gap.value, TransformExpiredError)  # it may yet come
    for tenth in range(10, 20):
        buffer.put("base", "hand", 100 * SECOND + tenth * SECOND // 10, (tenth, 0, 0), STILL)
    assert buffer.lookup("base", "hand", 101 * SECOND + SECOND // 20)[0, 3] == pytest.approx(10.5)
    with pytest.raises(TransformError, match="into the future"):
        buffer.lookup("base", "hand", 105 * SECOND)
    # The same where it is the first one of its frame.
    buffer.put("base", "arm", years, (1e6, 0, 0), STILL)
    for second in (100, 101):
        buffer.put("base", "arm", second * SECOND, (second, 0, 0), STILL)
    assert buffer.lookup("base", "arm", 100 * SECOND + SECOND // 2)[0, 3] == 100.5


def test_a_pose_far_ahead_of_the_clock_is_refused() -> None:
    buffer, now_ns = TransformBuffer(), 100 * SECOND
    for second in (99, 110):  # 10 s ahead: another computer's clock
        buffer.put("base", "hand", second * SECOND, (second, 0, 0), STILL, now_ns=now_ns)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"'hand' in 'base' is stamped 11.000 s ahead of time"):
            buffer.put("base", "hand", 111 * SECOND, (1e6, 0, 0), STILL, now_ns=now_ns)
    buffer.put("base", "hand", 105 * SECOND, (105, 0, 0), STILL, now_ns=now_ns)
    assert buffer.lookup("base", "hand", 100 * SECOND)[0, 3] == 100
    buffer.put("base", "rail", 10**18, (7, 0, 0), STILL, static=True, now_ns=now_ns)  # at any time
    assert buffer.lookup("base", "rail", 1)[0, 3] == 7


@pytest.mark.threat("N7")
def test_nothing_is_known_in_a_gap_longer_than_the_history() -> None:
    buffer = TransformBuffer(history_ns=2 * SECOND)
    for second in (10, 11, 14, 15):
        buffer.put("base", "hand", second * SECOND, (second, 0, 0), STILL)
    with pytest.raises(TransformError, match=r"no pose came between 11.000 s and 14.000 s"):
        buffer.lookup("base", "hand", 13 * SECOND)
    assert buffer.lookup("base", "hand", 14 * SECOND + SECOND // 2)[0, 3] == 14.5


@pytest.mark.parametrize(
    ("parent", "child", "translation", "quaternion", "says"),
    [
        ("base", "base", (0, 0, 0), STILL, "'base' is its own parent"),
        ("/base", "base", (0, 0, 0), STILL, "'base' is its own parent"),
        ("", "hand", (0, 0, 0), STILL, "both need a name"),
        ("base", "", (0, 0, 0), STILL, "both need a name"),
        ("base", "hand", (0, float("nan"), 0), STILL, "not all finite"),
        ("base", "hand", (0, 0, 0), (0, 0, 0, float("inf")), "not all finite"),
        ("base", "hand", (0, 0, 0), (0, 0, 0, 0), "no orientation"),
        ("base", "hand", (0, 0, 0), (1e308, 1e308, 1e308, 1e308), "no orientation"),
        ("finger", "base", (0, 0, 0), STILL, "would close a loop: 'finger' is in the tree below"),
    ],
)
def test_what_is_malformed_is_refused_and_changes_nothing(
    parent: str, child: str, translation: tuple, quaternion: tuple, says: str
) -> None:
    buffer = TransformBuffer()
    buffer.put("base", "arm", 1, (1, 0, 0), STILL)
    buffer.put("arm", "finger", 1, (1, 0, 0), STILL)
    with pytest.raises(ValueError, match=says):
        buffer.put(parent, child, 2, translation, quaternion)
    assert buffer.lookup("base", "finger", 1)[0, 3] == 2


def test_a_new_parent_takes_the_old_one_s_place() -> None:
    buffer = TransformBuffer()
    buffer.put("table", "mug", 1, (1, 0, 0), STILL)
    buffer.put("table", "hand", 1, (5, 0, 0), STILL, static=True)
    buffer.put("hand", "mug", 2, (0, 0, 0.1), STILL)
    assert buffer.lookup("table", "mug", 2)[:3, 3].tolist() == [5, 0, 0.1]
    with pytest.raises(TransformExpiredError):
        buffer.lookup("table", "mug", 1)


def test_after_a_jump_of_time_only_what_is_static_is_known() -> None:
    buffer = TransformBuffer()
    buffer.put("base", "camera", 100 * SECOND, (1, 0, 0), STILL, static=True)
    buffer.put("odom", "base", 100 * SECOND, (1, 0, 0), STILL)
    buffer.clear()
    assert buffer.lookup("base", "camera", 3)[0, 3] == 1
    with pytest.raises(TransformError, match="'odom' is unknown"):
        buffer.lookup("odom", "camera", 100 * SECOND)
    buffer.put("odom", "base", 3, (2, 0, 0), STILL)  # time begins anew, long before
    assert buffer.lookup("odom", "camera", 3)[0, 3] == 3
