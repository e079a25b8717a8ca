# SPDX-License-Identifier: Apache-2.0
"""Segment images by referring expressions: the public API of MLLMSeg.

    segmenter = Segmenter.from_pretrained()
    context = segmenter.encode(image)  # RGB; of OpenCV: cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    red_mug, bowl = segmenter.segment(context, ["the red mug", "the bowl"])

Knows nothing of ROS or drawing.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.checkpoints.hub import checkpoint_name, find_checkpoint
from mllmseg_ros.codecs.image_input import ImageLike, to_rgb
from mllmseg_ros.error_text import one_line
from mllmseg_ros.model.known_words import unknown_words
from mllmseg_ros.model.prompt import (
    MAX_TOKENS_AT_ONCE,
    Prompt,
    PromptBuilder,
    check_expressions,
    normalize_expression,
)
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.probability_map import ProbabilityMap
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

if TYPE_CHECKING:  # torch takes seconds to import, and is imported when a model is loaded
    import torch

    from mllmseg_ros.export.exported_model import ExportedModel
    from mllmseg_ros.model.config import MLLMSegConfig
    from mllmseg_ros.model.mllmseg import MLLMSeg
    from mllmseg_ros.model.passes import Logits, Passes

__all__ = ["ImageContext", "NotFiniteError", "Segmentation", "Segmenter", "Status"]

Method = TypeVar("Method", bound=Callable[..., Any])

# A pixel belongs to the mask from this probability on (docs/reference.md, section 8).
FOREGROUND = 0.5
IMAGES_PER_PASS = 8  # of one call, for the memory of a GPU
COMPILE_CHOICES = ("off", "graphs", "auto")
# Longer expressions run eagerly, or in the place of several.
_LONGEST_RECORDED = "the small red mug with the white handle on the left of the blue bowl"


@dataclass(frozen=True, kw_only=True)
class ImageContext:
    """One encoded image, for any number of expressions."""

    features: Any  # what the model computed: ImageFeatures, or ExportedFeatures
    size_hw: tuple[int, int]  # of the image, px


class NotFiniteError(RuntimeError):
    """The model's output is not finite."""


def _without_gradients(method: Method) -> Method:
    """Run a method in torch's inference mode; torch is not imported before it is called."""

    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        import torch

        with torch.inference_mode():
            return method(*args, **kwargs)

    return run  # type: ignore[return-value]


def _build_prompts(tokenizer: Tokenizer, config: MLLMSegConfig) -> PromptBuilder:
    """Make the prompt builder of a model.

    Raises:
        ValueError: if the tokenizer does not fit.
    """
    prompts = PromptBuilder(tokenizer, config.prompt, config.n_image_tokens)
    largest = max(tokenizer.largest_id, prompts.rej_id, *prompts.build(["image"]).input_ids)
    n_rows = config.language.vocab_size
    if largest >= n_rows:  # on a GPU, such a token would end all work of the process
        raise ValueError(
            f"the tokenizer has a token with id {largest}, the model's vocabulary has {n_rows}"
        )
    return prompts


class Segmenter:
    """MLLMSeg with its tokenizer.

    Attributes:
        can_reject: the checkpoint was trained to answer [REJ]; can be set to override its
            configuration.
        compile_problem: why passes were not recorded as CUDA graphs; "" if they were, or if nobody
            asked for it.
        threshold: with ``can_reject``, targets are found from this score on.
        min_mask_score: without ``can_reject``, targets below this mask score have LOW_CONFIDENCE.
            A heuristic: such a checkpoint always segments something.
        load_warning: warning from loading the model, "" if there is none.
    """

    def __init__(self, model: MLLMSeg | ExportedModel, tokenizer: Tokenizer) -> None:
        """Combine a network with its tokenizer.

        Raises:
            ValueError: if they do not fit together.
        """
        from mllmseg_ros.export.exported_model import ExportedModel
        from mllmseg_ros.model.passes import Passes

        self.model = model
        self.prompts = _build_prompts(tokenizer, model.config)
        prefix = self.prompts.build(["image"])  # which does not depend on the expression
        self._passes: ExportedModel | Passes = (
            model
            if isinstance(model, ExportedModel)
            else Passes(model, (self.prompts.seg_id, self.prompts.rej_id), prefix)
        )
        self.can_reject = model.config.can_reject
        self.compile_problem = ""
        self.threshold = 0.5
        self.min_mask_score = 0.7
        self.load_warning = ""

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        quantize: str | None = None,
        compile: str = "off",
        whole_head: bool = False,
        backend: str | None = None,
        cancelled: threading.Event | None = None,
    ) -> Segmenter:
        """Load a checkpoint for inference.

        Args:
            path_or_name: local folder or Hugging Face name; None is the embedded model.
            device: torch device or its name; None is the best available.
            dtype: torch dtype or its name; None is bfloat16 on GPUs and CPUs that compute it,
                float16 on other GPUs (float32 if that overflows, with a warning), else float32.
            quantize: "int8", "int4" or "fp8" for the linear layers of the language model, and
                int8 on a CPU also for those of the vision tower; "none" for none; None is as the
                checkpoint is stored.
            compile: "graphs" records the passes as CUDA graphs, which takes a few seconds; "auto"
                does so on CUDA; "off" runs them eagerly. An exported model has no such choice.
            backend: what runs the model: "torch"; for a folder written by ``mllmseg export``,
                "onnxruntime" or "tensorrt"; None is ONNX Runtime for such a folder, else torch.
            whole_head: load all rows of ``lm_head``, which the naive pass and the paper's
                protocol need; by default only those of the answer tokens, which is all that
                :meth:`segment` reads.
            cancelled: set by another thread to give up.

        Raises:
            ValueError: if the checkpoint, device, dtype, ``quantize``, ``compile`` or backend
                cannot be used.
            LoadingCancelled: if ``cancelled`` was set.
        """
        import torch

        from mllmseg_ros.checkpoints.loading import load_model
        from mllmseg_ros.export.exported_model import choose_backend, load_exported
        from mllmseg_ros.model.config import read_config
        from mllmseg_ros.model.precision import choose_device_and_dtype, find_gpu_problem

        folder = find_checkpoint(path_or_name)
        if compile not in COMPILE_CHOICES:
            accepted = ", ".join(COMPILE_CHOICES)
            raise ValueError(f"unknown compile {compile!r}; accepted: {accepted}")
        name = checkpoint_name(path_or_name)
        tokenizer = Tokenizer.from_folder(folder)  # before the weights: it is quickly refused
        chosen_backend = choose_backend(folder, backend)
        if chosen_backend != "torch":
            if quantize not in (None, "auto", "none"):
                raise ValueError(
                    f"quantize is {quantize!r}, but {folder} is an exported model; accepted: auto"
                )
            return cls(
                load_exported(folder, chosen_backend, device, dtype, tokenizer, name), tokenizer
            )
        chosen_device, chosen_dtype = choose_device_and_dtype(device, dtype)
        if compile == "graphs" and chosen_device.type != "cuda":
            raise ValueError(
                f"compile 'graphs' needs a CUDA device, the model's is {chosen_device}; use auto"
            )
        prompts = _build_prompts(tokenizer, read_config(folder, name))

        def load(dtype: torch.dtype) -> Segmenter:
            model = load_model(
                folder,
                chosen_device,
                dtype,
                name,
                cancelled,
                head_tokens=() if whole_head else (prompts.seg_id, prompts.rej_id),
                quantize=quantize or "auto",
            )
            return cls(model, tokenizer)

        segmenter = load(chosen_dtype)
        doubts = []
        if dtype in (None, "auto") and chosen_dtype == torch.float16 and segmenter._overflows():
            del segmenter  # its memory is needed
            segmenter = load(torch.float32)
            doubts.append(
                f"model {segmenter.name} overflows in float16, and the GPU does not compute "
                "bfloat16: it runs in float32, which takes twice the memory"
            )
        problem = find_gpu_problem() if device in (None, "auto") else ""
        if problem:
            doubts.append(f"model {segmenter.name} runs on the CPU: {problem}")
        segmenter.load_warning = "; ".join(doubts)
        if doubts:
            warnings.warn(segmenter.load_warning, stacklevel=2)
        if compile != "off" and chosen_device.type == "cuda":
            segmenter._record_graphs()
        return segmenter

    @property
    def mask_score_limit(self) -> float:
        """Former name of ``min_mask_score``; deprecated."""
        warnings.warn(
            "Segmenter.mask_score_limit was renamed to min_mask_score",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.min_mask_score

    @mask_score_limit.setter
    def mask_score_limit(self, value: float) -> None:
        warnings.warn(
            "Segmenter.mask_score_limit was renamed to min_mask_score",
            DeprecationWarning,
            stacklevel=2,
        )
        self.min_mask_score = value

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.config.name

    @property
    def synthetic_only(self) -> bool:
        """Whether the model was trained on simulated scenes only."""
        return self.model.config.synthetic_only

    def unknown_words(self, expression: str) -> list[str]:
        """Return the words of an expression that the model was not trained on.

        Empty for models without a list of known words, such as all with a pretrained language
        model.

        Raises:
            ValueError: if the expression is empty or too long.
        """
        known = self.model.config.known_words
        normalize_expression(expression)  # checks its length
        return unknown_words(expression, known) if known else []

    @property
    def torch_model(self) -> MLLMSeg:
        """The model's modules, for code that needs the network's internals.

        Raises:
            ValueError: if the model is an exported one, which has none.
        """
        from mllmseg_ros.model.mllmseg import MLLMSeg

        if not isinstance(self.model, MLLMSeg):
            raise ValueError(f"{self.name} is an exported model; this needs the original model")
        return self.model

    @property
    def backend(self) -> str:
        """What runs the model: "torch", "onnxruntime" or "tensorrt"."""
        return getattr(self.model, "backend", "torch")

    @property
    def path(self) -> str:
        """How the last pass ran: "eager", "graphs", or the backend of an exported model."""
        return self._passes.path

    @_without_gradients
    def _record_graphs(self) -> None:
        """Record all passes; where that fails they stay eager."""
        from mllmseg_ros.model.graphs import CudaRecorder
        from mllmseg_ros.model.passes import Passes

        assert isinstance(self._passes, Passes)
        try:
            self._passes.record(CudaRecorder(), self.prompts.build([_LONGEST_RECORDED]))
        except RuntimeError as error:
            self.compile_problem = f"no CUDA graphs: {one_line(error)}"

    @property
    def device(self) -> torch.device:
        """Device the model runs on."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.model.dtype

    @property
    def quantization(self) -> str:
        """How linear layers are quantised: "int8", "int4" or "fp8"; "" if they are not."""
        return self.model.quantization

    @_without_gradients
    def encode(self, image: ImageLike) -> ImageContext:
        """Encode an image: everything that does not depend on the expression.

        Args:
            image: RGB, not the BGR of OpenCV, which cannot be noticed (convert it by
                ``cv2.cvtColor(image, cv2.COLOR_BGR2RGB)``): uint8 (H, W, 3), a PIL image, or the
                path of an image file.

        Raises:
            ValueError: if it is no such image, naming what it is.
        """
        rgb = to_rgb(image)
        features = self._passes.encode(self._image_to_send(rgb))
        return ImageContext(features=features, size_hw=(rgb.shape[0], rgb.shape[1]))

    @_without_gradients
    def segment(
        self,
        context: ImageContext,
        expressions: Sequence[str],
        prompt_mode: str = "single",
        *,
        prompt: str | None = None,
    ) -> list[Segmentation]:
        """Segment an encoded image by expressions.

        Args:
            context: from :meth:`encode`.
            expressions: N referring expressions; N = 0 gives an empty list.
            prompt_mode: "single" has one prompt per expression, so that they do not influence each
                other; "joint" is the paper's prompt, all in one with every answer [SEG].
            prompt: former name of ``prompt_mode``; deprecated.

        Returns:
            One segmentation per expression, in order. Where nothing was found ``mask`` is empty;
            ``raw_mask`` is what the model drew.

        Raises:
            ValueError: if an expression is empty or too long, there are too many, or
                ``prompt_mode`` is unknown.
            NotFiniteError: a RuntimeError, if the model's output is not finite.
        """
        prompts = self._build_prompts(expressions, _renamed(prompt_mode, prompt))
        _check_context(context)
        if not prompts:
            return []
        logits = self._passes.read(context.features, prompts)
        return self._answer(expressions, [logits], [context.size_hw])[0]

    @_without_gradients
    def compute_logits(
        self, context: ImageContext, expressions: Sequence[str], prompt_mode: str = "single"
    ) -> Logits:
        """Compute what :meth:`segment` decides by: the model's output for N >= 1 expressions.

        Args:
            context: from :meth:`encode`.
            expressions: as of :meth:`segment`.
            prompt_mode: as of :meth:`segment`.

        Returns:
            ``answers`` (N, 2), the logits of [SEG] and [REJ], and ``masks`` (N, S, S) in the
            network's size, before the sigmoid; tensors on the model's device.

        Raises:
            ValueError: as :meth:`segment`, and without an expression.
        """
        prompts = self._build_prompts(expressions, prompt_mode)
        _check_context(context)
        if not prompts:
            raise ValueError("there are no expressions; give at least one")
        return self._passes.read(context.features, prompts)

    @_without_gradients
    def encode_and_segment(
        self, image: ImageLike, expressions: Sequence[str], prompt_mode: str = "single"
    ) -> tuple[ImageContext, list[Segmentation]]:
        """Encode an image and segment it by the first expressions.

        The results are those of :meth:`encode` and :meth:`segment`. Image and expressions go
        through the language model in one pass, so that its weights are read once.

        Args:
            image: as of :meth:`encode`.
            expressions: N referring expressions.
            prompt_mode: as of :meth:`segment`.

        Returns:
            The encoded image, for further expressions, and one segmentation per expression.

        Raises:
            ValueError: as :meth:`encode` and :meth:`segment`.
            NotFiniteError: a RuntimeError, if the model's output is not finite.
        """
        prompts = self._build_prompts(expressions, prompt_mode)
        if not prompts:
            return self.encode(image), []
        rgb = to_rgb(image)
        features, logits = self._passes.encode_and_read(self._image_to_send(rgb), prompts)
        context = ImageContext(features=features, size_hw=(rgb.shape[0], rgb.shape[1]))
        return context, self._answer(expressions, [logits], [context.size_hw])[0]

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is one image
        self,
        image: ImageLike,
        expressions: Sequence[str],
        prompt_mode: str = ...,
        *,
        prompt: str | None = ...,
    ) -> list[Segmentation]: ...
    @overload
    def __call__(
        self,
        image: Sequence[ImageLike],
        expressions: Sequence[str],
        prompt_mode: str = ...,
        *,
        prompt: str | None = ...,
    ) -> list[list[Segmentation]]: ...
    def __call__(
        self,
        image: ImageLike | Sequence[ImageLike],
        expressions: Sequence[str],
        prompt_mode: str = "single",
        *,
        prompt: str | None = None,
    ) -> list[Segmentation] | list[list[Segmentation]]:
        """Encode and segment in one call, without keeping the encoded image.

            mug, bowl = segmenter("photo.jpg", ["the mug", "the bowl"])
            for (mug,) in segmenter(["1.jpg", "2.jpg"], ["the mug"]):
                ...

        Args:
            image: as of :meth:`encode`, or a list of images, which go through the network in
                batches of 8.
            expressions: as of :meth:`segment`, asked of every image.
            prompt_mode: as of :meth:`segment`.
            prompt: former name of ``prompt_mode``; deprecated.

        Returns:
            One segmentation per expression; for a list of images, a list of these per image.

        Raises:
            ValueError: as :meth:`encode` and :meth:`segment`; of a list, naming the image.
            NotFiniteError: a RuntimeError, if the model's output is not finite.
        """
        prompt_mode = _renamed(prompt_mode, prompt)
        if isinstance(image, (list, tuple)):
            return self._segment_images(image, expressions, prompt_mode)
        return self.encode_and_segment(cast("ImageLike", image), expressions, prompt_mode)[1]

    @_without_gradients
    def _segment_images(
        self, images: Sequence[ImageLike], expressions: Sequence[str], prompt_mode: str
    ) -> list[list[Segmentation]]:
        prompts = self._build_prompts(expressions, prompt_mode)
        results: list[list[Segmentation]] = []
        for begin in range(0, len(images), IMAGES_PER_PASS):
            rgbs = []
            for number, image in enumerate(images[begin : begin + IMAGES_PER_PASS], start=begin):
                try:
                    rgbs.append(to_rgb(image))
                except ValueError as error:
                    raise ValueError(f"images[{number}]: {error}") from error
            sizes_hw = [(rgb.shape[0], rgb.shape[1]) for rgb in rgbs]
            sent = [self._image_to_send(rgb) for rgb in rgbs]
            results += (
                self._answer(expressions, self._passes.read_images(sent, prompts), sizes_hw)
                if prompts
                else [[] for _ in rgbs]
            )
        return results

    def _build_prompts(self, expressions: Sequence[str], prompt_mode: str) -> list[Prompt]:
        """Build and check the prompts of :meth:`segment`."""
        if prompt_mode not in ("single", "joint"):
            raise ValueError(f"unknown prompt_mode {prompt_mode!r}; accepted: 'single', 'joint'")
        check_expressions(expressions)
        if not expressions:
            return []
        prompts = (
            [self.prompts.build(expressions)]
            if prompt_mode == "joint"
            else [self.prompts.build([expression]) for expression in expressions]
        )
        n_tokens = sum(len(each.suffix_ids) for each in prompts)
        if n_tokens > MAX_TOKENS_AT_ONCE:
            raise ValueError(
                f"the expressions have {n_tokens} tokens in all, accepted at once are up to "
                f"{MAX_TOKENS_AT_ONCE}; ask for fewer or shorter expressions"
            )
        return prompts

    def _image_to_send(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pixels to copy to the device: a GPU resizes the image itself."""
        from mllmseg_ros.model.pixels import resize_to_square

        if self.device.type == "cpu":
            return resize_to_square(rgb, self.model.config.image_size_px)
        return rgb

    def _answer(
        self,
        expressions: Sequence[str],
        logits: Sequence[Logits],
        sizes_hw: Sequence[tuple[int, int]],
    ) -> list[list[Segmentation]]:
        """Turn the logits of expressions, per image, into results for images of some sizes."""
        answers, masks = logits[0].answers, logits[0].masks
        if len(logits) > 1:
            import torch

            answers = torch.cat([each.answers for each in logits])
            masks = torch.cat([each.masks for each in logits])
        scores, probabilities = self._to_host(answers, masks.float())
        rows = zip(scores.tolist(), probabilities, strict=True)
        return [
            [
                self._decide(expression, score, ProbabilityMap(values=values, size_hw=size_hw))
                for expression, (score, values) in zip(expressions, rows, strict=False)
            ]
            for size_hw in sizes_hw
        ]

    def _overflows(self) -> bool:
        """Whether the output for a noise image is not finite."""
        size_px = self.model.config.image_size_px
        noise = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
        try:
            self(noise, ["the object"])
        except NotFiniteError:
            return True
        return False

    def _to_host(
        self, answer_logits: torch.Tensor, mask_logits: torch.Tensor
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fetch what the host needs of a call, in one copy: the only one from the device.

        Probabilities come in the network's size. The image may have many times as many pixels, of
        which few are read: they are interpolated on the host (:class:`ProbabilityMap`).

        Args:
            answer_logits: (N, 2) of [SEG] and [REJ].
            mask_logits: (N, S, S).

        Returns:
            Scores (N,) and probabilities (N, S, S).

        Raises:
            NotFiniteError: for NaN, which would be taken for "not there".
        """
        import torch

        from mllmseg_ros.model.transfer import to_host

        scores, probabilities, is_finite = to_host(
            torch.softmax(answer_logits, dim=-1)[:, 0],
            torch.sigmoid(mask_logits),
            torch.isfinite(answer_logits).all() & torch.isfinite(mask_logits).all(),
        )
        if not is_finite:
            raise NotFiniteError(
                f"the output of model {self.name} is not finite in {self.dtype}; try another "
                "dtype, or check its weights"
            )
        return scores, probabilities

    def _decide(self, expression: str, score: float, probability: ProbabilityMap) -> Segmentation:
        mask, box, mask_score = probability.find_mask(FOREGROUND)
        is_empty = mask_score == 0  # of a pixel it is FOREGROUND at least
        found = score >= self.threshold if self.can_reject else not is_empty
        unknown = self.unknown_words(expression)
        doubts = []
        if unknown:
            words = ", ".join(repr(word) for word in unknown)
            doubts.append(f"{self.name} was not trained on {words}")
        if found and is_empty:
            doubts.append("its mask is empty")
        if found and not self.can_reject and mask_score < self.min_mask_score:
            doubts.append(
                f"mask score {mask_score:.2f} is below min_mask_score, {self.min_mask_score:.2f}"
            )
        if not found:
            status = Status.NO_TARGET
        else:
            status = Status.LOW_CONFIDENCE if doubts else Status.FOUND
        reported_score = score if self.can_reject else float("nan")
        return build_segmentation(
            expression,
            status,
            reported_score,
            mask_score,
            probability,
            mask,
            "; ".join(doubts),
            within=box,
        )


def _check_context(context: ImageContext) -> None:
    if not hasattr(context, "features"):
        raise ValueError(
            f"context is of type {type(context).__name__}, expected what encode(image) returns; "
            "segmenter(image, expressions) takes an image"
        )


def _renamed(prompt_mode: str, prompt: str | None) -> str:
    """Return the value of a renamed argument, with a warning."""
    if prompt is None:
        return prompt_mode
    warnings.warn("argument prompt was renamed to prompt_mode", DeprecationWarning, stacklevel=3)
    return prompt
