# SPDX-License-Identifier: Apache-2.0
"""The web page to review a labelled data set.

It shows one entry at a time: an image with its mask. Each decision is written to disk before the
request is answered.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from mllmseg_ros.data.review import LabelledSet
from mllmseg_ros.error_text import one_line
from mllmseg_ros.web.guard import Access, guarded_application

__all__ = ["review_application"]

_PAGE = Path(__file__).parent / "review_page"
_COLOR_BGR, _TINT = (40, 160, 255), 0.38
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
        self._write_lock = asyncio.Lock()

    async def entries(self, request: web.Request) -> web.Response:
        entries = [self._entry_to_json(number) for number in self._labelled.order()]
        name = self._labelled.folder.resolve().name
        return web.json_response({"name": name, "entries": entries, **self._counts()})

    async def image(self, request: web.Request) -> web.Response:
        try:
            path = self._labelled.image(int(request.match_info["number"]))
            body = await asyncio.to_thread(path.read_bytes)
        except (ValueError, OSError) as error:
            raise web.HTTPNotFound(text=one_line(error, with_type=False)) from error
        content_type = _CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return web.Response(body=body, content_type=content_type)

    async def mask(self, request: web.Request) -> web.Response:
        try:
            mask = self._labelled.mask(int(request.match_info["number"]))
        except (ValueError, OSError) as error:
            raise web.HTTPNotFound(text=one_line(error, with_type=False)) from error
        body = await asyncio.to_thread(_draw_mask, mask)
        return web.Response(body=body, content_type="image/png")

    async def decide(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        try:
            body = await request.json()
            if not isinstance(body, dict):
                raise ValueError("expected an object")
            async with self._write_lock:
                await asyncio.to_thread(self._decide, number, body)
        except (ValueError, TypeError, OSError) as error:
            raise web.HTTPBadRequest(text=one_line(error, with_type=False)) from error
        return web.json_response({"entry": self._entry_to_json(number), **self._counts()})

    async def undo(self, request: web.Request) -> web.Response:
        async with self._write_lock:
            number = await asyncio.to_thread(self._labelled.undo)
        entry = None if number is None else self._entry_to_json(number)
        return web.json_response({"entry": entry, **self._counts()})

    def _decide(self, number: int, body: dict[str, Any]) -> None:
        decision = body.get("do")
        if decision == "accept":
            self._labelled.accept(number)
        elif decision == "reject":
            self._labelled.reject(number)
        elif decision == "redraw":
            self._labelled.redraw(number, body.get("polygons", ()))
        else:
            raise ValueError(f"'do' is {decision!r}, accepted: accept, reject, redraw")

    def _entry_to_json(self, number: int) -> dict[str, Any]:
        fields = self._labelled[number]
        expression = fields.get("expression") or ", ".join(fields.get("expressions", ()))
        return {
            "number": number,
            "image": fields["image"],
            "expression": expression,
            "review": self._labelled.review(number).value,
            "score": fields.get("score"),
            "mask_score": fields.get("mask_score"),
            "there": fields["mask"] is not None,
            "recording": fields.get("recording", ""),
        }

    def _counts(self) -> dict[str, Any]:
        return {"counts": self._labelled.counts()}


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
