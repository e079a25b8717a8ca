# SPDX-License-Identifier: Apache-2.0
"""The page on which a labelled data set is looked through.

A picture at a time with its mask; what the person decides is on disk before the page hears of it.
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
_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def review_application(labelled: LabelledSet, access: Access) -> web.Application:
    """Make the page's application.

    Args:
        labelled: what is looked through; each decision is written at once.
        access: who may.
    """
    app = guarded_application(access, _PAGE)
    handlers = _Handlers(labelled)
    app.router.add_get("/entries", handlers.entries)
    app.router.add_get(r"/picture/{number:\d{1,9}}", handlers.picture)
    app.router.add_get(r"/mask/{number:\d{1,9}}", handlers.mask)
    app.router.add_post(r"/entry/{number:\d{1,9}}", handlers.decide)
    app.router.add_post("/undo", handlers.undo)
    return app


class _Handlers:
    def __init__(self, labelled: LabelledSet) -> None:
        self._labelled = labelled
        self._writing = asyncio.Lock()

    async def entries(self, request: web.Request) -> web.Response:
        entries = [self._shown(number) for number in self._labelled.order()]
        name = self._labelled.folder.resolve().name
        return web.json_response({"name": name, "entries": entries, **self._counts()})

    async def picture(self, request: web.Request) -> web.Response:
        try:
            path = self._labelled.image(int(request.match_info["number"]))
            body = await asyncio.to_thread(path.read_bytes)
        except (ValueError, OSError) as error:
            raise web.HTTPNotFound(text=one_line(error, with_type=False)) from error
        kind = _KINDS.get(path.suffix.lower(), "application/octet-stream")
        return web.Response(body=body, content_type=kind)

    async def mask(self, request: web.Request) -> web.Response:
        try:
            mask = self._labelled.mask(int(request.match_info["number"]))
        except (ValueError, OSError) as error:
            raise web.HTTPNotFound(text=one_line(error, with_type=False)) from error
        body = await asyncio.to_thread(_drawn, mask)
        return web.Response(body=body, content_type="image/png")

    async def decide(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        try:
            asked = await request.json()
            if not isinstance(asked, dict):
                raise ValueError("expected an object")
            async with self._writing:
                await asyncio.to_thread(self._decide, number, asked)
        except (ValueError, TypeError, OSError) as error:
            raise web.HTTPBadRequest(text=one_line(error, with_type=False)) from error
        return web.json_response({"entry": self._shown(number), **self._counts()})

    async def undo(self, request: web.Request) -> web.Response:
        async with self._writing:
            number = await asyncio.to_thread(self._labelled.undo)
        entry = None if number is None else self._shown(number)
        return web.json_response({"entry": entry, **self._counts()})

    def _decide(self, number: int, asked: dict[str, Any]) -> None:
        what = asked.get("do")
        if what == "accept":
            self._labelled.accept(number)
        elif what == "reject":
            self._labelled.reject(number)
        elif what == "redraw":
            self._labelled.redraw(number, asked.get("polygons", ()))
        else:
            raise ValueError(f"'do' is {what!r}, accepted: accept, reject, redraw")

    def _shown(self, number: int) -> dict[str, Any]:
        fields = self._labelled[number]
        said = fields.get("expression") or ", ".join(fields.get("expressions", ()))
        return {
            "number": number,
            "image": fields["image"],
            "expression": said,
            "review": self._labelled.review(number).value,
            "score": fields.get("score"),
            "mask_score": fields.get("mask_score"),
            "there": fields["mask"] is not None,
            "recording": fields.get("recording", ""),
        }

    def _counts(self) -> dict[str, Any]:
        return {"counts": self._labelled.counts()}


def _drawn(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as a picture to lay over another: a tint, and an outline around it."""
    drawn = np.zeros((*mask.shape, 4), np.uint8)
    drawn[mask] = (*_COLOR_BGR, round(255 * _TINT))
    outlines, _ = cv2.findContours(
        np.pad(mask.astype(np.uint8), 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )
    width = max(1, round(mask.shape[0] / 240))
    cv2.drawContours(drawn, outlines, -1, (*_COLOR_BGR, 255), width, cv2.LINE_8)
    return bytes(cv2.imencode(".png", drawn)[1])
