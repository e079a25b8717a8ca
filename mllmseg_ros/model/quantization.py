# SPDX-License-Identifier: Apache-2.0
"""Quantised weights of linear layers: which ones, what a device computes, torchao's tensors.

Quantised are the linear layers of the language model's blocks; ``int8`` on a CPU also quantises
those of the vision tower, with activations quantised per token. A :class:`QuantizedWeight` is
independent of the device, and what checkpoints store; :func:`to_parameter` lays it out for the
kernels of a device. torchao is optional: it is imported when a weight is quantised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from mllmseg_ros.error_text import one_line

__all__ = [
    "KINDS",
    "QuantizedWeight",
    "check_quantization",
    "check_size",
    "check_torchao",
    "dequantize_weight",
    "is_language_weight",
    "is_vision_weight",
    "quantize_weight",
    "resolve_quantization",
    "to_dynamic_int8",
    "to_parameter",
]

# Weights of 8 and 4 bits; fp8: float8_e4m3fn, activations too.
KINDS = ("int8", "int4", "fp8")

GROUP = 64  # columns that share a scale in int4; a power of two that divides the published widths
_FP8_MULTIPLE = 16  # of rows and columns, in cuBLAS
_CUDA_COLUMNS, _CUDA_ROWS = 1024, 8  # multiples to which the int4 kernel's weight is padded
_INNER_TILES = 8  # of the int4 kernel on CUDA
_LANGUAGE = re.compile(r"language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight")
_VISION = re.compile(
    r"vision_tower\.encoder\.layer\.\d+\."
    r"(attention\.([qkv]_proj|projection_layer)|mlp\.fc[12])\.weight"
)


@dataclass(frozen=True, kw_only=True)
class QuantizedWeight:
    """The weight (R, C) of a linear layer in fewer bits.

    ``int8`` and ``fp8``: weight = codes * scale. ``int4``: weight = (code - 8) * scale + zero, per
    group of GROUP columns.
    """

    kind: str
    # int8 (R, C); float8_e4m3fn (R, C); int4: uint8 (R, C/2), the even column in the upper half
    codes: Tensor
    scale: Tensor  # float32 (R, 1); int4: bfloat16 (R, C/GROUP)
    zero: Tensor | None = None  # int4 only: bfloat16 (R, C/GROUP)

    @property
    def columns(self) -> int:
        """C."""
        return int(self.codes.shape[1] * (2 if self.kind == "int4" else 1))


def resolve_quantization(asked: str | None, stored: str) -> str:
    """Return the kind to load a model in, "" for none.

    Args:
        asked: a kind, "none", or None or "auto" for the kind that is stored.
        stored: the kind in the checkpoint's configuration, "" for none.
    """
    if asked in (None, "auto"):
        return stored
    return "" if asked == "none" else str(asked)


def is_language_weight(parameter: str) -> bool:
    """Return whether a parameter is the weight of a linear layer in the language model's blocks."""
    return _LANGUAGE.fullmatch(parameter) is not None


def is_vision_weight(parameter: str) -> bool:
    """Return whether a parameter is the weight of a linear layer in the vision tower's blocks."""
    return _VISION.fullmatch(parameter) is not None


def check_quantization(kind: str, device: torch.device, dtype: torch.dtype) -> None:
    """Check that a device can compute with weights of a kind.

    Args:
        kind: one of KINDS.
        device: for the weights.
        dtype: of the activations and of all other weights.

    Raises:
        ValueError: if it cannot, or torchao is missing; says what is needed.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown quantize {kind!r}; accepted: auto, none, {', '.join(KINDS)}")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"quantize {kind} on device {device}: accepted are cpu and cuda")
    if kind == "fp8":
        _check_capability(kind, device, (8, 9), "an Ada, Hopper or newer GPU; use int8")
    if kind == "int4" and device.type == "cuda":
        _check_capability(kind, device, (8, 0), "an Ampere or newer GPU; use int8")
    if kind != "int8" and dtype != torch.bfloat16:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"quantize {kind} computes in bfloat16, the dtype here is {name}; set dtype to "
            "bfloat16, or quantize to int8"
        )
    check_torchao(kind)


def check_torchao(kind: str) -> None:
    """Check that torchao has what this module uses.

    Raises:
        ValueError: if it is missing, or another version.
    """
    try:
        import torchao.prototype.quantization.int4
        import torchao.quantization.quantize_.workflows  # noqa: F401
    except (ImportError, AttributeError) as error:  # AttributeError: made for a newer torch
        raise ValueError(
            f"quantize {kind} needs torchao 0.18 ({one_line(error)}): pip install "
            "'.[quantize]', or install the packages in requirements/quantize.txt"
        ) from error


def _check_capability(kind: str, device: torch.device, least: tuple[int, int], remedy: str) -> None:
    if device.type != "cuda":
        raise ValueError(
            f"quantize {kind} needs a CUDA GPU of compute capability {least[0]}.{least[1]} or "
            f"more, the device is {device}; use int8"
        )
    found = torch.cuda.get_device_capability(device)
    if found < least:
        raise ValueError(
            f"quantize {kind} needs compute capability {least[0]}.{least[1]} or more, {device} "
            f"has {found[0]}.{found[1]}: {remedy}"
        )


def check_size(kind: str, rows: int, columns: int) -> str:
    """Return why a weight of a size cannot be quantised to a kind; "" if it can."""
    if kind == "int4" and columns % GROUP:
        return f"has {columns} columns, int4 needs a multiple of {GROUP}"
    if kind == "fp8" and (rows % _FP8_MULTIPLE or columns % _FP8_MULTIPLE):
        return f"has size ({rows}, {columns}), fp8 needs multiples of {_FP8_MULTIPLE}"
    return ""


def quantize_weight(weight: Tensor, kind: str) -> QuantizedWeight:
    """Quantise the weight (R, C) of a linear layer by torchao, on the weight's device.

    int8 and fp8 are symmetric with a scale per row; int4 has a scale and a zero per group of GROUP
    columns.

    Raises:
        ValueError: if its size does not fit the kind.
    """
    from torchao.quantization import (
        Float8Tensor,
        Int8Tensor,
        IntxUnpackedToInt8Tensor,
        MappingType,
        PerRow,
    )
    from torchao.quantization.quantize_.common import KernelPreference

    rows, columns = weight.shape
    problem = check_size(kind, rows, columns)
    if problem:
        raise ValueError(f"a weight {problem}")
    if kind == "int8":
        int8 = Int8Tensor.from_hp(weight.float(), granularity=PerRow())
        return QuantizedWeight(kind=kind, codes=int8.qdata, scale=int8.scale.float())
    if kind == "fp8":
        fp8 = Float8Tensor.from_hp(
            weight.float(), granularity=PerRow(), kernel_preference=KernelPreference.TORCH
        )
        return QuantizedWeight(kind=kind, codes=fp8.qdata, scale=fp8.scale.float())
    target = torch.int4  # type: ignore[attr-defined]
    int4 = IntxUnpackedToInt8Tensor.from_hp(
        weight.float(), (1, GROUP), target, mapping_type=MappingType.ASYMMETRIC
    )
    codes = (int4.qdata + 8).to(torch.uint8)  # 0 to 15
    scale = int4.scale.to(torch.bfloat16)
    zero = (-int4.zero_point.float() * int4.scale).to(torch.bfloat16)
    packed = codes[:, ::2] << 4 | codes[:, 1::2]
    return QuantizedWeight(kind=kind, codes=packed, scale=scale, zero=zero)


def dequantize_weight(quantized: QuantizedWeight, dtype: torch.dtype) -> Tensor:
    """Compute the weight (R, C) that a quantised one stands for. Needs no torchao."""
    if quantized.zero is None:
        return (quantized.codes.float() * quantized.scale).to(dtype)
    rows, groups = quantized.scale.shape
    codes = _unpack(quantized.codes).view(rows, groups, GROUP).float() - 8
    weight = codes * quantized.scale.float()[..., None] + quantized.zero.float()[..., None]
    return weight.view(rows, -1).to(dtype)


def _unpack(codes: Tensor) -> Tensor:
    """Unpack codes of int4: uint8 (R, C/2) -> uint8 (R, C)."""
    return torch.stack([codes >> 4, codes & 15], dim=-1).flatten(1)


def to_parameter(quantized: QuantizedWeight, dtype: torch.dtype) -> Tensor:
    """Make the torchao tensor by which a linear layer computes, on the codes' device.

    Args:
        quantized: the weight.
        dtype: of the activations.
    """
    if quantized.kind == "int8":
        from torchao.quantization import Int8Tensor

        block = [1, quantized.columns]
        int8: Tensor = Int8Tensor(quantized.codes, quantized.scale, block, dtype)
        return int8
    if quantized.kind == "fp8":
        return _to_fp8(quantized, dtype)
    return _to_int4(quantized)


def _to_fp8(quantized: QuantizedWeight, dtype: torch.dtype) -> Tensor:
    from torchao.float8.inference import Float8MMConfig
    from torchao.quantization import Float8Tensor, PerRow
    from torchao.quantization.quantize_.common import KernelPreference
    from torchao.quantization.quantize_.workflows import QuantizeTensorToFloat8Kwargs

    matmul = Float8MMConfig(use_fast_accum=True)
    parameter: Tensor = Float8Tensor(
        quantized.codes,
        quantized.scale,
        block_size=[1, quantized.columns],
        mm_config=matmul,
        act_quant_kwargs=QuantizeTensorToFloat8Kwargs(
            granularity=PerRow(), mm_config=matmul, kernel_preference=KernelPreference.TORCH
        ),
        kernel_preference=KernelPreference.TORCH,
        dtype=dtype,
    )
    return parameter


def _to_int4(quantized: QuantizedWeight) -> Tensor:
    codes, scale, zero = quantized.codes, quantized.scale, quantized.zero
    assert zero is not None
    (rows, _), columns = codes.shape, quantized.columns
    parameter: Tensor
    if codes.device.type == "cpu":
        from torchao.prototype.quantization.int4 import Int4OpaqueTensor

        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(_unpack(codes).int(), 1)
        scales = torch.stack([scale, zero], dim=-1).transpose(0, 1).contiguous()
        parameter = Int4OpaqueTensor(packed, scales, [1, GROUP], [rows, columns])
        return parameter
    from torchao.quantization import Int4TilePackedTo4dTensor

    # Activations are padded with zeros likewise, so that the padding's values do not count.
    more_rows, more_columns = -rows % _CUDA_ROWS, -columns % _CUDA_COLUMNS
    pad = torch.nn.functional.pad
    packed = torch.ops.aten._convert_weight_to_int4pack(
        pad(codes, (0, more_columns // 2, 0, more_rows)).contiguous(), _INNER_TILES
    )
    pairs = torch.stack([scale, zero], dim=-1)
    scales = pad(pairs, (0, 0, 0, more_columns // GROUP, 0, more_rows)).transpose(0, 1).contiguous()
    parameter = Int4TilePackedTo4dTensor(packed, scales, [1, GROUP], torch.Size([rows, columns]))
    return parameter


def to_dynamic_int8(weight: Tensor) -> Tensor:
    """Make a weight (R, C) that quantises activations to int8 per token, and multiplies in int8."""
    from torchao.quantization import Int8Tensor, PerRow
    from torchao.quantization.quantize_.workflows import QuantizeTensorToInt8Kwargs
    from torchao.utils import should_reduce_range

    # Without VNNI instructions, sums of two full 8-bit products overflow.
    reduce_range = should_reduce_range(weight.device)
    parameter: Tensor = Int8Tensor.from_hp(
        weight,
        granularity=PerRow(),
        act_quant_kwargs=QuantizeTensorToInt8Kwargs(
            granularity=PerRow(), reduce_range=reduce_range
        ),
        reduce_range=reduce_range,
    )
    return parameter
