# SPDX-License-Identifier: Apache-2.0
"""The script that builds TensorRT engines of exported stages, on the machine that will run them.

An engine is for one GPU and one version of TensorRT, so that it cannot be built elsewhere. Not run
here, where there is no TensorRT; a test compares its command lines with the ONNX files.
"""

from __future__ import annotations

from collections.abc import Mapping

from mllmseg_ros.export.stages import DYNAMIC, STAGES, Stage

__all__ = ["SCRIPT", "engine_script"]

SCRIPT = "build_engines.sh"
# Smallest, usual and largest: an engine is fastest at the usual size and refuses what is larger.
_SIZES = {"n_tokens": (1, 32, 1024), "n_expressions": (1, 1, 32)}
_HEAD = """\
#!/bin/sh
# Builds the TensorRT engines of this exported model, for the GPU of this machine:
#   ./build_engines.sh [fp16|bf16|fp32]
# Then: mllmseg segment IMAGE EXPRESSION --model FOLDER --backend tensorrt
# trtexec comes with TensorRT (JetPack has it); another one: TRTEXEC=/path/to/trtexec
set -eu
cd "$(dirname "$0")"
trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
case ${1:-fp16} in
    fp16) precision=--fp16 ;;
    bf16) precision=--bf16 ;;
    fp32) precision= ;;
    *) echo "precision is '$1', accepted: fp16, bf16, fp32" >&2; exit 2 ;;
esac
"""


def engine_script(fixed_shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Write the script for a model.

    Args:
        fixed_shapes: of every input that has no dynamic dimension, by its name.
    """
    return _HEAD + "".join(f"\n{_command(stage, fixed_shapes)}\n" for stage in STAGES)


def _command(stage: Stage, fixed_shapes: Mapping[str, tuple[int, ...]]) -> str:
    words = [f'"$trtexec" --onnx={stage.onnx_file} --saveEngine={stage.engine_file} $precision']
    if any(name in DYNAMIC for name in stage.inputs):
        for which, option in enumerate(("min", "opt", "max")):
            shapes = (_shape(name, which, fixed_shapes) for name in stage.inputs)
            words.append(f"    --{option}Shapes={','.join(shapes)}")
    return " \\\n".join(words)


def _shape(name: str, which: int, fixed_shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Write a shape as trtexec wants it, such as ``input_ids:1x32``."""
    sizes = list(fixed_shapes[name])
    for axis, dimension in DYNAMIC.get(name, {}).items():
        sizes[axis] = _SIZES[dimension][which]
    return f"{name}:{'x'.join(map(str, sizes))}"
