# SPDX-License-Identifier: Apache-2.0
"""The web page to review a labelled data set.

It shows one entry at a time: an image with its mask. Each decision is written to disk before the
request is answered. A request is answered by 409 if another program has changed the file since it
was read, and by 507 if it cannot be written; nothing has changed then.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from mllmseg_ros.codecs.image_file import MAX_IMAGE_BYTES
from mllmseg_ros.data.image_file import size_hw
from mllmseg_ros.data.review import ChangedError, LabelledSet, expressions_of
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import parse_json, read_bytes
from mllmseg_ros.web.guard import Access, guarded_application

__all__ = ["review_application"]

_PAGE = Path(__file__).parent / "review_page"
_COLOR_BGR, _TINT = (40, 160, 255), 0.15
_MAX_PROBLEMS = 20  # shown on the page
_CONTENT_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def review_application(labelled: LabelledSet, access: Access) -> web.Application:
    """Create the page's application.

    Args:
        labelled: data set to review; each decision is written immediately.
        access: who may open the page.
    """
    app = guarded_application(access, _PAGE)
    routes = _Routes(labelled)
    app.router.add_get("/entries", routes.entries)
    app.router.add_get(r"/picture/{number:\d{1,9}}", routes.image)
    app.router.add_get(r"/mask/{number:\d{1,9}}", routes.mask)
    app.router.add_post(r"/entry/{number:\d{1,9}}", routes.decide)
    app.router.add_post("/undo", routes.undo)
    return app


class _Routes:
    def __init__(self, labelled: LabelledSet) -> None:
        self._labelled = labelled
        self._lock = asyncio.Lock()

    async def entries(self, request: web.Request) -> web.Response:
        return web.json_response(await self._exclusively(self._read_entries))

    async def image(self, request: web.Request) -> web.Response:
        try:
            path = self._labelled.image(int(request.match_info["number"]))
            body = await asyncio.to_thread(_read_image, path)
        except ValueError as error:
            raise web.HTTPNotFound(text=one_line(error, with_type=False)) from error
        content_type = _CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return web.Response(body=body, content_type=content_type)

    async def mask(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        try:
            body = await asyncio.to_thread(lambda: _draw_mask(self._labelled.mask(number)))
        except ValueError as error:
            raise web.HTTPNotFound(text=one_line(error, with_type=False)) from error
        return web.Response(body=body, content_type="image/png")

    async def decide(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        data = await request.read()
        return web.json_response(await self._exclusively(lambda: self._decide(number, data)))

    async def undo(self, request: web.Request) -> web.Response:
        return web.json_response(await self._exclusively(self._undo))

    async def _exclusively(self, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Call a function in a thread, one at a time; refuse the request if it fails."""
        try:
            async with self._lock:
                return await asyncio.to_thread(function)
        except ChangedError as error:
            raise web.HTTPConflict(text=one_line(error, with_type=False)) from error
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise web.HTTPInsufficientStorage(text=f"not saved: {reason}") from error
        except (ValueError, TypeError, ArithmeticError) as error:
            raise web.HTTPBadRequest(text=one_line(error, with_type=False)) from error

    def _read_entries(self) -> dict[str, Any]:
        labelled = self._labelled
        labelled.reload()
        return {
            "name": labelled.folder.resolve().name,
            "entries": [self._entry_to_json(number) for number in labelled.order()],
            "problems": labelled.problems[:_MAX_PROBLEMS],
            "n_problems": len(labelled.problems),
            "counts": labelled.counts(),
        }

    def _decide(self, number: int, data: bytes) -> dict[str, Any]:
        body = parse_json(data.decode(), "the request")
        if not isinstance(body, dict):
            raise ValueError("expected an object")
        decision = body.get("do")
        if decision == "accept":
            self._labelled.accept(number)
        elif decision == "reject":
            self._labelled.reject(number)
        elif decision == "redraw":
            self._labelled.redraw(number, body.get("polygons", ()))
        elif decision == "keep":
            u, v = body.get("uv", ())
            self._labelled.keep_piece(number, (u, v))
        else:
            raise ValueError(f"'do' is {decision!r}, accepted: accept, reject, redraw, keep")
        return self._reply(number)

    def _undo(self) -> dict[str, Any]:
        return self._reply(self._labelled.undo())

    def _reply(self, number: int | None) -> dict[str, Any]:
        entry = None if number is None else self._entry_to_json(number)
        return {"entry": entry, "counts": self._labelled.counts()}

    def _entry_to_json(self, number: int) -> dict[str, Any]:
        fields = self._labelled[number]
        return {
            "number": number,
            "image": fields["image"],
            "expression": ", ".join(expressions_of(fields)),
            "review": self._labelled.review(number).value,
            "score": _number_or_none(fields.get("score")),
            "mask_score": _number_or_none(fields.get("mask_score")),
            "there": fields["mask"] is not None,
            "recording": str(fields.get("recording", "")),
        }


def _read_image(path: Path) -> bytes:
    """Read an image file that the browser can show without running out of memory."""
    size_hw(path)
    return read_bytes(path, max_bytes=MAX_IMAGE_BYTES)


def _number_or_none(value: object) -> float | None:
    """A finite number from the file; the page shows no other."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


def _draw_mask(mask: NDArray[np.bool_]) -> bytes:
    """Draw a mask (H, W) as a PNG overlay: tinted, with an outline."""
    overlay = np.zeros((*mask.shape, 4), np.uint8)
    overlay[mask] = (*_COLOR_BGR, round(255 * _TINT))
    outlines, _ = cv2.findContours(
        np.pad(mask.astype(np.uint8), 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )
    width = max(1, round(mask.shape[0] / 240))
    cv2.drawContours(overlay, outlines, -1, (*_COLOR_BGR, 255), width, cv2.LINE_8)
    return bytes(cv2.imencode(".png", overlay)[1])
