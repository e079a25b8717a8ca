# SPDX-License-Identifier: Apache-2.0
"""Packed rows with and without a cached prefix give the results of one pass per expression."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values
from mllmseg_ros.segmenter import Segmenter

ROWS = [["the red mug", "bowl", "all the blue cans left of the ball"], ["the ball"]]


def test_packed_rows_equal_single_questions(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    model, prompts = random_segmenter.model, random_segmenter.prompts
    images = [image, image[::-1].copy()]
    pixels = torch.stack([to_pixel_values(resize_to_square(rgb, 224)) for rgb in images])
    packed = pack([[prompts.build([text]) for text in row] for row in ROWS])
    with torch.inference_mode():
        tokens, image_embeds = model.encode_vision(pixels)
        image_states, states = model.read_packed(image_embeds, packed)
        fused = model.mask_decoder.fuse(tokens, image_states)
        probability = model.mask_decoder.decode(fused[packed.rows], states).sigmoid()
        answers = model.answer_logits(states, (prompts.seg_id, prompts.rej_id)).softmax(-1)[:, 0]
    asked = [(rgb, text) for rgb, row in zip(images, ROWS, strict=True) for text in row]
    for index, (rgb, text) in enumerate(asked):
        (alone,) = random_segmenter(rgb, [text])
        assert abs(float(answers[index]) - alone.score) < 1e-4
        area = float((probability[index] >= 0.5).float().mean())
        assert abs(area - alone.raw_mask.mean()) < 0.02
