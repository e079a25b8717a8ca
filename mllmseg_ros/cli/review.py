# SPDX-License-Identifier: Apache-2.0
"""``mllmseg review``: review a labelled data set in the browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmseg_ros.cli.arguments import add_verb, require

if TYPE_CHECKING:
    from mllmseg_ros.data.review import LabelledSet


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    review = add_verb(
        verbs,
        "review",
        "accept, reject and correct labels in the browser",
        "mllmseg review tools",
        "mllmseg review tools --accept-sure",
    )
    review.add_argument("dataset", type=Path, help="folder that mllmseg label has written")
    review.add_argument(
        "--port",
        type=int,
        default=8643,
        help="port of the page, 0 for any free one",
    )
    review.add_argument(
        "--accept-sure",
        action="store_true",
        help="accept all labels marked 'sure' without opening a page",
    )
    review.set_defaults(run=_review)


def _review(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.data.review import FILE, LabelledSet
    from mllmseg_ros.files import FolderLock
    from mllmseg_ros.recording.source import is_lerobot

    if is_lerobot(arguments.dataset) and not (arguments.dataset / FILE).is_file():
        raise ValueError(
            f"{arguments.dataset}: a LeRobot data set without labels; `mllmseg label "
            f"{arguments.dataset} … -o OUT --to lerobot` labels a copy, for `mllmseg review OUT`"
        )
    labelled = LabelledSet(arguments.dataset)
    with FolderLock(arguments.dataset):
        labelled.reload()
        for problem in labelled.problems:
            print(problem, file=sys.stderr)
        if arguments.accept_sure:
            counts = {"newly accepted": labelled.accept_sure(), **labelled.counts()}
            print(", ".join(f"{n} {state}" for state, n in counts.items()))
        else:
            _serve(labelled, arguments.port)


def _serve(labelled: LabelledSet, port: int) -> None:
    require("console", "aiohttp")
    require("recordings", "pycocotools")
    import asyncio

    from mllmseg_ros.web.guard import Access, serving
    from mllmseg_ros.web.review import review_application

    async def serve() -> None:
        access = Access(port=port)
        async with serving(review_application(labelled, access), access) as url:
            print(f"{url}  (Ctrl-C to stop; every decision is saved immediately)", flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())
