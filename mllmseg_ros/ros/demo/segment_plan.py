# SPDX-License-Identifier: Apache-2.0
"""Plan the commands of the demo and judge the results, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.segmentation import Segmentation, Status
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.plain_expressions import ReferringExpression
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["SegmentCommand", "Verdict", "format_table", "judge", "plan_commands"]

_FORMS = ("color_kind", "kind", "extreme", "relation", "several", "none")
_TRIES = 60


@dataclass(frozen=True, kw_only=True)
class SegmentCommand:
    """A command and the true targets of its expressions."""

    text: str
    expressions: tuple[ReferringExpression, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Comparison of the result of one expression with the truth of its image."""

    expression: str
    status: Status
    score: float
    should_be_found: bool
    iou: float | None  # None if there is nothing to compare
    centroid_error_mm: float | None  # None without a position


def plan_commands(objects: Sequence[VisibleObject], seed: int) -> list[SegmentCommand]:
    """Plan a command for each form that the scene allows, and one with two roles at the end."""
    rng = np.random.default_rng(seed)
    planned: list[SegmentCommand] = []
    used: set[str] = set()
    for form in _FORMS:
        expression = _draw_expression(objects, rng, form, used)
        if expression is not None:
            planned.append(SegmentCommand(text=expression.text, expressions=(expression,)))
            used.add(expression.text)
    pick = _draw_expression(objects, rng, "color_kind", used)
    place = _draw_expression(objects, rng, "color_kind", used | ({pick.text} if pick else set()))
    if pick and place and pick.targets != place.targets:
        text = f"pick: {pick.text}; place: {place.text}"
        planned.append(SegmentCommand(text=text, expressions=(pick, place)))
    return planned


def _draw_expression(
    objects: Sequence[VisibleObject], rng: np.random.Generator, form: str, used: set[str]
) -> ReferringExpression | None:
    for _ in range(_TRIES):
        (expression,) = draw_expressions(objects, rng, 1, forms=(form,))
        # If a form is impossible in a scene, the generator returns one for an absent object.
        if expression.form == form and expression.text not in used:
            return expression
    return None


def judge(
    segmentations: Sequence[Segmentation],
    positions_m: Sequence[NDArray[np.float64]],
    targets: Sequence[int],
    instances: NDArray[np.uint8],
    depth_m: NDArray[np.float32],
    K: NDArray[np.float64],
) -> Verdict:
    """Compare the result of one expression with the truth.

    Args:
        segmentations: one per instance, masks (H, W).
        positions_m: (3,) m, of the instances that have one.
        targets: instance ids of the true targets; empty: there is none.
        instances: (H, W) true instance ids of that image.
        depth_m: (H, W) true depth, NaN where invalid.
        K: (3, 3) px.
    """
    truth = np.isin(instances, list(targets))
    first = segmentations[0]  # status and score are those of all
    found = first.status is Status.FOUND
    iou = error_mm = None
    if found or targets:
        mask = (
            np.any([each.mask for each in segmentations], axis=0) if found else np.zeros_like(truth)
        )
        iou = float((mask & truth).sum() / max(1, (mask | truth).sum()))
    visible = [instances == each for each in targets if (instances == each).any()]
    if found and visible and positions_m:
        # The distance of each position to the nearest target; the largest one counts.
        true_m = np.array([_mean_point(each, depth_m, K) for each in visible])
        off_m = [np.linalg.norm(true_m - each, axis=1).min() for each in positions_m]
        error_mm = 1000 * float(max(off_m))
    return Verdict(
        expression=first.expression,
        status=first.status,
        score=first.score,
        should_be_found=bool(targets),
        iou=iou,
        centroid_error_mm=error_mm,
    )


def _mean_point(
    truth: NDArray[np.bool_], depth_m: NDArray[np.float32], K: NDArray[np.float64]
) -> NDArray[np.float64]:
    v, u = np.nonzero(truth & np.isfinite(depth_m))
    z = depth_m[v, u].astype(np.float64)
    x, y = (u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z
    return np.array([x.mean(), y.mean(), z.mean()])


def format_table(rows: Sequence[tuple[Verdict, float]]) -> str:
    """Format verdicts with their latencies (ms) as a table for a terminal."""
    lines = [
        f"{'expression':<44} {'truth':<7} {'result':<15} {'score':>5} {'IoU':>5} "
        f"{'3-D error':>10} {'latency':>9}"
    ]
    for verdict, latency_ms in rows:
        iou = "-" if verdict.iou is None else f"{verdict.iou:.2f}"
        error = verdict.centroid_error_mm
        lines.append(
            f"{verdict.expression[:44]:<44} "
            f"{'there' if verdict.should_be_found else 'absent':<7} "
            f"{verdict.status.value:<15} {verdict.score:5.2f} {iou:>5} "
            f"{'-' if error is None else f'{error:.1f} mm':>10} {latency_ms:6.0f} ms"
        )
    return "\n".join(lines)
