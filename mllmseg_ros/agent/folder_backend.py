# SPDX-License-Identifier: Apache-2.0
"""Answer an agent from image files: a folder that was named at start, or one image in it.

An agent's text never becomes a path. The names of the images are listed first, and what the agent
names is looked up among them; what leads out of the folder is not in the list.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.agent.answers import (
    CameraList,
    CommandAnswer,
    EncodedImage,
    Explanation,
    Findings,
    StatusAnswer,
    View,
    clean_text,
    combine_findings,
    format_stamp,
    no_findings,
    target_of_instance,
)
from mllmseg_ros.agent.encoded_images import MAX_PANEL_SIDE_PX, encode_image
from mllmseg_ros.agent.limits import MAX_FILES, MAX_LISTED
from mllmseg_ros.codecs.image_file import read_image
from mllmseg_ros.drawing.overlay import draw_overlay
from mllmseg_ros.files import show
from mllmseg_ros.geometry.instances import locate_instances
from mllmseg_ros.language.conversation import LANGUAGES, UnderstoodCommand, understand
from mllmseg_ros.recording.recorded_image import IMAGE_SUFFIXES
from mllmseg_ros.recording.storage_files import natural_order

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import ImageContext, Segmenter

__all__ = ["FolderBackend"]

_NO_ROBOT = "there is no robot here: the images come from files"

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class _Image:
    """A decoded image file."""

    path: Path
    stamp_ns: int  # when the file was changed
    rgb: NDArray[np.uint8]  # (H, W, 3)
    context: ImageContext

    @property
    def image_wh(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[0]


class FolderBackend:
    """Implements :class:`~mllmseg_ros.agent.answers.AgentBackend` for image files.

    A "camera" is an image, or a folder of images, of which the newest counts. One thread decodes
    and infers, so that calls take turns.
    """

    def __init__(self, path: Path, segmenter: Segmenter) -> None:
        """Set up.

        Args:
            path: a folder, or an image file.
            segmenter: with any model.

        Raises:
            ValueError: There is no image.
        """
        self._path, self._segmenter = path, segmenter
        self._command = ""  # in force, where something follows it
        self._newest: _Image | None = None  # encoded last
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="infer")
        if not self._scan():
            raise ValueError(
                f"{path}: no image in it; accepted: a folder of images, or an image file "
                f"({', '.join(IMAGE_SUFFIXES)})"
            )

    async def find(self, sentence: str, camera: str) -> tuple[Findings, EncodedImage | None]:
        """Look in the newest image of a camera."""
        understood = understand(sentence, LANGUAGES["en"])
        if understood.command.is_stop:
            self._command = ""
            return no_findings(sentence, "stopped", "stopped on command", camera), None
        return await self._in_thread(lambda: self._find(sentence, understood, camera))

    async def look(self, camera: str) -> tuple[View, EncodedImage]:
        """Get the newest image of a camera."""
        return await self._in_thread(lambda: self._look(camera))

    async def explain(self, sentence: str, camera: str) -> tuple[Explanation, EncodedImage]:
        """Explain the result on the newest image of a camera."""
        command = understand(sentence, LANGUAGES["en"]).command
        if command.is_stop:
            self._command = ""  # a stop, whichever way it comes
        if len(command.targets) != 1:
            raise ValueError(f"{len(command.targets)} things are named; accepted: one")
        expression = command.targets[0].expression
        return await self._in_thread(lambda: self._explain(sentence, expression, camera))

    async def list_cameras(self) -> CameraList:
        """List the folders and images."""
        names = list(await asyncio.to_thread(self._scan))
        return CameraList(
            cameras=tuple(names[:MAX_LISTED]),
            n_left_out=max(0, len(names) - MAX_LISTED),
            text='images, and folders of images, of which the newest counts; "" is the folder '
            "that was named at start",
        )

    async def status(self, *, commands_allowed: bool) -> StatusAnswer:
        """Describe the images."""
        images = await asyncio.to_thread(self._scan)
        command = f'; command: "{self._command}"' if self._command else ""
        return StatusAnswer(
            is_ready=bool(images),
            text=f"{_NO_ROBOT}{command}",
            model=self._segmenter.name,
            cameras=tuple(list(images)[:MAX_LISTED]),
            problems=() if images else ("no image any more",),
            commands_allowed=commands_allowed,
        )

    async def set_command(self, sentence: str, camera: str) -> CommandAnswer:
        """Remember a command; nothing acts on it."""
        if camera:
            self._choose(camera)
        command = understand(sentence, LANGUAGES["en"]).command
        if command.is_stop:
            return await self.stop()
        self._command = command.text
        return CommandAnswer(accepted=True, text=f"{command.text}; {_NO_ROBOT}", request_id="")

    async def stop(self) -> CommandAnswer:
        """Forget the command."""
        self._command = ""
        return CommandAnswer(accepted=True, text=f"stopped; {_NO_ROBOT}", request_id="")

    async def _in_thread(self, function: Callable[[], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _find(
        self, sentence: str, understood: UnderstoodCommand, camera: str
    ) -> tuple[Findings, EncodedImage]:
        image, command = self._read(camera), understood.command
        segmentations = self._segmenter.segment(image.context, command.expressions)
        instances = locate_instances(segmentations)
        doubts = dict.fromkeys(each.doubt for each in segmentations if each.doubt)
        findings = combine_findings(
            sentence,
            [target_of_instance(each, command) for each in instances],
            note="; ".join(filter(None, (*doubts, understood.note))),
            camera=camera,
            frame_id="",
            stamp=format_stamp(image.stamp_ns),
            image_wh=image.image_wh,
            model=self._segmenter.name,
        )
        overlay = draw_overlay(image.rgb, [each.segmentation for each in instances])
        return findings, encode_image(overlay)

    def _look(self, camera: str) -> tuple[View, EncodedImage]:
        image = self._read(camera)
        view = View(
            camera=camera,
            frame_id="",
            stamp=format_stamp(image.stamp_ns),
            age_s=round(time.time() - image.stamp_ns / 1e9, 1),
            image_wh=image.image_wh,
        )
        return view, encode_image(image.rgb)

    def _explain(
        self, sentence: str, expression: str, camera: str
    ) -> tuple[Explanation, EncodedImage]:
        from mllmseg_ros.explain.explanation import explain
        from mllmseg_ros.explain.panel import describe_decision, draw_explanation

        image = self._read(camera)
        explanation = explain(self._segmenter, image.context, expression)
        status = explanation.segmentation.status.value.lower()
        answer = Explanation(
            sentence=clean_text(sentence),
            camera=camera,
            text=f"{status}. {describe_decision(explanation)}",
        )
        panel = draw_explanation(image.rgb, explanation)
        return answer, encode_image(panel, MAX_PANEL_SIDE_PX)

    def _read(self, camera: str) -> _Image:
        """Decode and encode the newest image of a camera, unless it was the last one, too."""
        path = self._choose(camera)
        stamp_ns = path.stat().st_mtime_ns
        newest = self._newest
        if newest is None or (newest.path, newest.stamp_ns) != (path, stamp_ns):
            rgb = self._read_image(path)
            context = self._segmenter.encode(rgb)
            newest = self._newest = _Image(path=path, stamp_ns=stamp_ns, rgb=rgb, context=context)
        return newest

    def _read_image(self, path: Path) -> NDArray[np.uint8]:
        try:
            return read_image(path)
        except ValueError as error:  # without the folder's place on this machine
            raise ValueError(str(error).replace(show(path), _name(path.name))) from None

    def _choose(self, camera: str) -> Path:
        names = self._scan()
        if camera not in names:
            shown = ", ".join(map(repr, list(names)[:10]))
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            raise ValueError(f"camera is {clean_text(camera, 80)!r}, accepted: {shown}{more}")
        return max(names[camera], key=_age_order)

    def _scan(self) -> dict[str, list[Path]]:
        """List the images by the name that an agent uses; folders have several.

        The first name is "", if there are images right in the folder; names are relative to it.
        """
        if not self._path.is_dir():
            files = [self._path] if self._path.is_file() else []
            return {name: files for name in ("", _name(self._path.name)) if files}
        root = self._path.resolve()
        folders: dict[str, list[Path]] = {}
        images: dict[str, list[Path]] = {}
        for file in _image_files(root):
            where = file.parent.relative_to(root)
            folders.setdefault(_name(str(where)) if where.parts else "", []).append(file)
            images[_name(str(file.relative_to(root)))] = [file]
        return {**folders, **images}


def _image_files(root: Path) -> list[Path]:
    """Image files below a folder that are not hidden, and whose links do not lead out of it."""
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):  # does not follow links to folders
        subfolders[:] = sorted(
            (each for each in subfolders if not each.startswith(".")), key=natural_order
        )
        for name in sorted(names, key=natural_order):
            file = Path(folder, name)
            if name.startswith(".") or file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if file.is_file() and file.resolve().is_relative_to(root):
                files.append(file)
            if len(files) >= MAX_FILES:
                return files
    return files


def _age_order(file: Path) -> tuple:
    """Key that sorts files by the time of their last change, then by name."""
    return (file.stat().st_mtime_ns, *natural_order(file.name))


def _name(path: str) -> str:
    """Name of an image for an agent: file names may hold anything, also what is no text."""
    return clean_text(path.encode(errors="backslashreplace").decode(), max_chars=len(path) * 4)
