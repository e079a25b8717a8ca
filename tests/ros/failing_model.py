# SPDX-License-Identifier: Apache-2.0
"""The mortal node with a model that fails on certain expressions; run as a script.

Everything else is the node's own. The errors are those that PyTorch raises; what is not a number
is put into an image's features, and comes out of the model by its own arithmetic.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

RAISES, OUT_OF_MEMORY, NOT_A_NUMBER = "a failure", "a shortage", "a nan"
HANGS, PANICS = "a hang", "a panic"


def main() -> None:
    import torch
    from mortal_node import MortalNode, Panic

    from mllmseg_ros.ros.support.spin import run
    from mllmseg_ros.segmenter import ImageContext, Segmenter

    sound = Segmenter.segment

    def segment(
        self: Segmenter,
        context: ImageContext,
        expressions: Sequence[str],
        prompt_mode: str = "single",
        **_: Any,
    ) -> list[Any]:
        if RAISES in expressions:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if OUT_OF_MEMORY in expressions:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.2 GiB")
        if PANICS in expressions:
            raise Panic("in the model")
        if HANGS in expressions:
            threading.Event().wait()
        if NOT_A_NUMBER in expressions:
            tensors = {
                each.name: getattr(context.features, each.name) * float("nan")
                for each in fields(context.features)
                if isinstance(getattr(context.features, each.name), torch.Tensor)
            }
            context = replace(context, features=replace(context.features, **tensors))
        return sound(self, context, expressions, prompt_mode)

    def encode_and_segment(
        self: Segmenter, image: Any, expressions: Sequence[str], prompt_mode: str = "single"
    ) -> tuple[ImageContext, list[Any]]:
        context = self.encode(image)
        return context, self.segment(context, expressions, prompt_mode)

    faulthandler.register(signal.SIGUSR1)  # writes the stacks of all threads
    Segmenter.segment = segment  # type: ignore[method-assign]
    Segmenter.encode_and_segment = encode_and_segment  # type: ignore[method-assign]
    sys.exit(run(MortalNode))


if __name__ == "__main__":
    main()
