# SPDX-License-Identifier: Apache-2.0
"""``mllmseg segment``: segment expressions in images."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmseg_ros.cli.arguments import (
    add_backend,
    add_every,
    add_expression,
    add_model,
    add_verb,
    check_expressions,
    checked_every,
    load_segmenter,
    read_command,
)
from mllmseg_ros.cli.files import (
    check_image_files,
    check_output_files,
    is_stdout,
    make_output_folder,
    write_json,
)

if TYPE_CHECKING:
    from mllmseg_ros.cli.inputs import InputImage, InputImages

_MAX_NAME = 60  # characters of an expression in the name of a file


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    segment = add_verb(
        verbs,
        "segment",
        "segment what expressions refer to, in images or a video",
        'mllmseg segment photo.png "the red mug" -o overlay.png',
        'mllmseg segment a.png b.png "the red mug" "the bowl" --masks masks --json results.json',
        'mllmseg segment images "the red mug" -o overlays',
        'mllmseg segment drive.mp4 "the parked cars" --every 30 --masks masks',
    )
    segment.add_argument(
        "words",
        nargs="+",
        metavar="INPUT|EXPRESSION",
        help="first the inputs: image files (PNG, JPEG, WebP, BMP or GIF), folders of images, "
        "globs, videos; then referring expressions, such as 'the red mug'",
    )
    add_expression(segment)
    segment.add_argument(
        "-o",
        "--output",
        type=Path,
        help="overlay image to write; for several images a folder of overlays",
    )
    segment.add_argument(
        "--masks",
        type=Path,
        metavar="FOLDER",
        help="folder of masks to write: a PNG of 0 and 255 per image and expression",
    )
    segment.add_argument(
        "--json",
        type=Path,
        help="JSON results to write, - for stdout; masks in it are COCO run lengths",
    )
    segment.add_argument(
        "--prompt",
        choices=("single", "joint"),
        default="single",
        help="one expression per prompt, or all in one",
    )
    add_every(segment)
    add_model(segment)
    add_backend(segment)
    segment.set_defaults(run=_segment, takes_rest="words")


def _segment(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from mllmseg_ros.cli.inputs import InputImages, split_words

    inputs, words = split_words(arguments.words)
    check_expressions(words)
    texts = [*words, *arguments.expression]
    if not texts:
        raise ValueError(
            f"no expression after {', '.join(map(str, inputs))}; if one of them is an expression "
            f"and not a file: -e {shlex.quote(inputs[-1].name)}"
        )
    expressions = read_command(texts).expressions
    images = InputImages(inputs, checked_every(arguments))
    outputs = _Outputs(arguments, is_single=images.is_single)
    readable = _read(images, outputs)
    first = next(readable, None)  # what cannot be read ends it before the model is loaded
    if first is None:
        raise ValueError("none of the images can be read, see above")
    segmenter = load_segmenter(arguments, backend=arguments.backend)
    for image, rgb in tqdm(
        chain([first], readable),
        desc="segmenting",
        total=len(images) or None,
        unit="image",
        mininterval=1,
        disable=images.is_single,
    ):
        outputs.write(image, rgb, segmenter(rgb, expressions, prompt_mode=arguments.prompt))
    outputs.close()


def _read(images: InputImages, outputs: _Outputs) -> Iterator[tuple[InputImage, Any]]:
    """Yield the images that can be read, RGB uint8 (H, W, 3); report the others.

    Raises:
        ValueError: the only one cannot be read.
    """
    for image in images:
        try:
            rgb = image.read()
        except ValueError as error:
            if images.is_single:
                raise
            outputs.report_broken(image, error)
            continue
        yield image, rgb


class _Outputs:
    """Lines on the terminal, overlays, masks and JSON."""

    def __init__(self, arguments: argparse.Namespace, *, is_single: bool) -> None:
        """Check that all can be written.

        Raises:
            ValueError: One cannot.
        """
        self._overlay, self._masks, self._json = arguments.output, arguments.masks, arguments.json
        self._is_single, self._n_broken = is_single, 0
        self._names: Counter[str] = Counter()
        self._fields: list[dict[str, Any]] = []
        self._stream = sys.stderr if is_stdout(self._json) else sys.stdout
        check_output_files(self._json)
        if is_single:
            check_image_files(self._overlay)
        elif self._overlay is not None:
            make_output_folder(self._overlay)
        if self._masks is not None:
            make_output_folder(self._masks)

    def report_broken(self, image: InputImage, error: ValueError) -> None:
        """Say above the progress bar why an image is left out."""
        from tqdm import tqdm

        tqdm.write(f"{image.label}: ignored: {error}", file=sys.stderr)
        self._n_broken += 1

    def write(self, image: InputImage, rgb: Any, segmentations: Sequence[Any]) -> None:
        """Print and write the segmentations of one image."""
        from tqdm import tqdm

        from mllmseg_ros.drawing.image_file import write_image, write_mask
        from mllmseg_ros.drawing.overlay import draw_overlay

        for segmentation in segmentations:
            line = _describe(segmentation)
            tqdm.write(line if self._is_single else f"{image.label}: {line}", file=self._stream)
            fields = {**image.fields, **_json_fields(segmentation)}
            if self._masks is not None:
                name = f"{image.stem}_{_file_name(segmentation.expression)}"
                path = self._new_path(self._masks, name)
                write_mask(path, segmentation.mask & segmentation.found)
                fields["mask_file"] = str(path)
            self._fields.append(fields)
        if self._overlay is not None:
            path = self._overlay if self._is_single else self._new_path(self._overlay, image.stem)
            write_image(path, draw_overlay(rgb, segmentations))

    def close(self) -> None:
        """Write the JSON.

        Raises:
            ValueError: Images were left out.
        """
        write_json(self._fields, self._json)
        if self._n_broken:
            raise ValueError(f"{self._n_broken} images cannot be read, see above")

    def _new_path(self, folder: Path, name: str) -> Path:
        """A name that no file of this run has: images of several folders may share one."""
        path = folder / name
        self._names[str(path)] += 1
        n = self._names[str(path)]
        return folder / (f"{name}.png" if n == 1 else f"{name}_{n}.png")


def _file_name(expression: str) -> str:
    return re.sub(r"\W+", "_", expression)[:_MAX_NAME].strip("_") or "target"


def _describe(segmentation: Any) -> str:
    score = "" if math.isnan(segmentation.score) else f"  score {segmentation.score:.2f}"
    where = (
        f"  {segmentation.area_px} px  box {segmentation.box_xyxy}" if segmentation.area_px else ""
    )
    doubt = f"  ({segmentation.doubt})" if segmentation.doubt else ""
    return (
        f"{segmentation.expression!r}: {segmentation.status.value}{score}"
        f"  mask score {segmentation.mask_score:.2f}{where}{doubt}"
    )


def _json_fields(segmentation: Any) -> dict[str, Any]:
    """Get a segmentation's fields for JSON: the mask as run lengths, None for NaN."""
    from mllmseg_ros.masks import encode_run_lengths

    fields = {
        name: getattr(segmentation, name)
        for name in (
            "expression",
            "found",
            "mask_score",
            "box_xyxy",
            "centroid_uv",
            "inside_uv",
            "area_px",
            "doubt",
        )
    }
    fields["mask"] = encode_run_lengths(segmentation.mask) if segmentation.area_px else None
    score = None if math.isnan(segmentation.score) else segmentation.score
    return {**fields, "status": segmentation.status.value, "score": score}
