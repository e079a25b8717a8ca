# SPDX-License-Identifier: Apache-2.0
"""The metrics against the original's, to its two printed decimals."""

from __future__ import annotations

import json

import pytest
import torch
from named_weights import RECORDED
from safetensors.torch import load_file

from mllmseg_ros.eval.metrics import (
    MaskComparison,
    compare_mask,
    gres_scores,
    res_scores,
    xywh_to_target_box,
)
from mllmseg_ros.model.pixels import to_image_size


def compared_images(
    tensors: dict[str, torch.Tensor], run: str, recorded: dict
) -> list[list[MaskComparison]]:
    images = []
    for index in range(recorded["n_images"]):
        target = tensors[f"{run}.{index}.gt"]
        boxes = tensors.get(f"{run}.{index}.bbox_xywh")
        probability = to_image_size(tensors[f"{run}.{index}.pred"], tuple(target.shape[1:]))
        rejected = recorded.get("predicted_reject", [[False] * len(target)] * (index + 1))[index]
        images.append(
            [
                compare_mask(
                    probability[k].numpy(),
                    target[k].numpy(),
                    rejected=rejected[k],
                    target_box=xywh_to_target_box(boxes[k].tolist()) if boxes is not None else None,
                )
                for k in range(len(target))
            ]
        )
    return images


@pytest.mark.parametrize("run", ["res_1", "res_2", "gres_1", "gres_2"])
def test_equals_the_original(run: str) -> None:
    recorded = json.loads((RECORDED / "metrics.json").read_text(encoding="utf-8"))[run]
    images = compared_images(load_file(RECORDED / "metrics.safetensors"), run, recorded)
    if recorded["protocol"] == "res":
        res = res_scores(images)
        ours = {"ciou": res.c_iou, "giou": res.g_iou, "rec_bbox_iou_0.5": res.precision_at_half}
    else:
        gres = gres_scores([comparison for image in images for comparison in image])
        ours = {"N_acc": gres.n_acc, "T_acc": gres.t_acc, "g_iou": gres.g_iou, "c_iou": gres.c_iou}
    assert {name: round(value, 2) for name, value in ours.items()} == recorded["metrics"]
