# SPDX-License-Identifier: Apache-2.0
"""``mllmseg review``: look a labelled data set through in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import require


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    review = verbs.add_parser("review", help="accept, reject and redraw what a model labelled")
    review.add_argument("dataset", type=Path, help="folder of mllmseg label")
    review.add_argument("--port", type=int, default=8643, help="of the page; 0: any that is free")
    review.add_argument(
        "--accept-sure",
        action="store_true",
        help="accept, without a page, everything that the model was sure of",
    )
    review.set_defaults(run=_review)


def _review(asked: argparse.Namespace) -> None:
    from mllmseg_ros.data.review import LabelledSet

    labelled = LabelledSet(asked.dataset)
    if asked.accept_sure:
        counts = {"newly accepted": labelled.accept_sure(), **labelled.counts()}
        print(", ".join(f"{n} {state}" for state, n in counts.items()))
        return
    require("console", "aiohttp")
    require("recordings", "pycocotools")
    import asyncio

    from mllmseg_ros.web.guard import Access, serving
    from mllmseg_ros.web.review import review_application

    async def serve() -> None:
        access = Access(port=asked.port)
        async with serving(review_application(labelled, access), access) as url:
            print(f"{url}  (Ctrl-C ends; every decision is saved at once)", flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())
