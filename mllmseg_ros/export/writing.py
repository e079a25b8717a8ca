# SPDX-License-Identifier: Apache-2.0
"""Export a model to a folder of ONNX files, and compare them with it.

Entry point: :func:`export_onnx`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mllmseg_ros.export import MANIFEST
from mllmseg_ros.export.engines import SCRIPT, engine_script
from mllmseg_ros.export.exported_model import FORMAT, prompt_constants
from mllmseg_ros.export.sessions import OnnxSession
from mllmseg_ros.export.stages import DYNAMIC, STAGES, Stage, build_stages, read_inputs
from mllmseg_ros.files import check_regular_file, is_missing, replaced_folder, write_file
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.prompt import MAX_EXPRESSIONS, MAX_TOKENS_AT_ONCE, PromptBuilder

__all__ = ["TOLERANCE", "export_onnx"]

# Largest difference between ONNX Runtime and torch in float32, of the largest value of an output.
TOLERANCE = 1e-5
_OPSET = 18
_COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
# Traced with one number of tokens and expressions, compared with others.
_TRACED = ["the red mug", "the small blue bowl", "the can"]
_COMPARED = (["the red mug"], ["the ball left of the can", "a bowl", "the book", "all the mugs"])


@torch.no_grad()
def export_onnx(
    model: MLLMSeg,
    prompts: PromptBuilder,
    source: Path,
    folder: Path,
    pixel_values: Tensor,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the stages of a model, its configuration and tokenizer, and a script for TensorRT.

    Args:
        model: in float32 on the CPU.
        prompts: of its tokenizer.
        source: the checkpoint folder that it was loaded from.
        folder: to write, new or empty. It appears when all outputs have been compared.
        pixel_values: of an image to compare with (1, 3, S, S).
        report: called with one line per stage.

    Raises:
        ValueError: if the model is in another dtype or on another device, an output differs from
            torch's by more than TOLERANCE, or the folder is not empty.
        OSError: if the folder cannot be written.
    """
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(f"the model is in {model.dtype} on {model.device}, expected float32, cpu")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder; name another one, or --overwrite")
    modules = build_stages(model, prompts)
    # oneDNN's convolution is 1e-5 from float64 in the mask decoder, torch's own 2e-6.
    with _quiet(), torch.backends.mkldnn.flags(enabled=False):
        traced, *compared = (
            _compute(modules, {"pixel_values": pixel_values, **_read_inputs(prompts, expressions)})
            for expressions in (_TRACED, *_COMPARED)
        )
    differences = {}
    with replaced_folder(folder) as partial:
        for stage in STAGES:
            path = partial / stage.onnx_file
            _write_stage(modules[stage.name], stage, traced, path)
            session = OnnxSession(path, torch.device("cpu"))
            difference = max(_difference(session, stage, tensors) for tensors in compared)
            if not difference <= TOLERANCE:  # nor NaN
                raise ValueError(
                    f"stage {stage.name}: ONNX Runtime differs from torch by {difference:.1e} of "
                    f"the largest value, accepted is {TOLERANCE}; nothing was written"
                )
            differences[stage.name] = difference
            report(f"{path.name}: differs from torch by {difference:.1e} of the largest value")
        for name in _COPIED:
            if not is_missing(source / name):
                check_regular_file(source / name)
                shutil.copyfile(source / name, partial / name)
        manifest = {
            "format": FORMAT,
            "name": model.config.name,
            **prompt_constants(prompts),
            "opset": _OPSET,
            "torch": torch.__version__,
            "differences_from_torch": differences,
        }
        write_file(partial / MANIFEST, json.dumps(manifest) + "\n")
        shapes = {name: tuple(tensor.shape) for name, tensor in traced.items()}
        write_file(partial / SCRIPT, engine_script(shapes))
        (partial / SCRIPT).chmod(0o755)


def _read_inputs(prompts: PromptBuilder, expressions: Sequence[str]) -> dict[str, Tensor]:
    built = [prompts.build([expression]) for expression in expressions]
    return read_inputs(pack([built], prefix_is_cached=True))


def _compute(modules: dict[str, nn.Module], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run all stages in torch; returns inputs and outputs by their names."""
    tensors = dict(inputs)
    for stage in STAGES:
        outputs = modules[stage.name](*(tensors[name] for name in stage.inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        tensors |= dict(zip(stage.outputs, outputs, strict=True))
    return tensors


def _write_stage(module: nn.Module, stage: Stage, tensors: dict[str, Tensor], path: Path) -> None:
    dimensions = {
        "n_tokens": torch.export.Dim("n_tokens", min=1, max=MAX_TOKENS_AT_ONCE),
        "n_expressions": torch.export.Dim("n_expressions", min=1, max=MAX_EXPRESSIONS),
    }
    dynamic_shapes = {
        name: {axis: dimensions[each] for axis, each in DYNAMIC.get(name, {}).items()} or None
        for name in stage.inputs
    }
    with _quiet():
        torch.onnx.export(
            module,
            tuple(tensors[name] for name in stage.inputs),
            path,
            input_names=list(stage.inputs),
            output_names=list(stage.outputs),
            opset_version=_OPSET,
            dynamic_shapes=dynamic_shapes,
            dynamo=True,
            external_data=True,  # an ONNX file itself holds 2 GB at most
            verbose=False,
        )


def _difference(session: OnnxSession, stage: Stage, tensors: dict[str, Tensor]) -> float:
    """Compute the largest difference of a stage's outputs, relative to their largest value."""
    outputs = session.run({name: tensors[name].contiguous() for name in stage.inputs})
    return max(
        float((outputs[name] - tensors[name]).abs().max() / tensors[name].abs().max())
        for name in stage.outputs
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of torch's exporter and transformers for their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
