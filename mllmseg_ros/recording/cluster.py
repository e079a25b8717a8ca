# SPDX-License-Identifier: Apache-2.0
"""The pass over recordings on many machines, by Ray Data.

Each model lives in an actor: one per GPU, else one per CPU core. They take stretches of images,
read them from the same paths as here, and send answers back, which go into the same journal. A
stretch whose worker dies is given to another one by Ray.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from mllmseg_ros.recording.inference_pass import infer_image, load_models
from mllmseg_ros.recording.label_run import IMAGES, ImageFolder, LabelRun, open_inputs
from mllmseg_ros.recording.recorded_image import Picture
from mllmseg_ros.recording.results import Journal, recorded_result_from_json

__all__ = ["run_on_cluster"]

STRETCH = 8  # images that a worker takes at a time; so many are looked at again where it dies


def run_on_cluster(run: LabelRun, address: str, journal: Journal) -> None:
    """Look at every image that the journal has no answer for.

    Args:
        run: what is asked; its folders must be seen under the same paths by all machines.
        address: of the cluster, "auto" for the one of this machine, "local" to start one.
        journal: takes the answers.

    Raises:
        RuntimeError: if there is no such cluster, or looking fails on it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    stretches = _stretches(run, journal)
    if not stretches:
        return
    own = not ray.is_initialized()
    if own:
        try:
            local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
        except (ConnectionError, ValueError) as error:
            raise RuntimeError(f"no Ray cluster at {address}: {error}") from error
    try:
        _look(ray, run, stretches, journal)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1][:500]
        raise RuntimeError(f"looking failed on the cluster: {reason}") from error
    finally:
        if own:
            ray.shutdown()


def _look(ray: Any, run: LabelRun, stretches: list[dict[str, Any]], journal: Journal) -> None:
    there = replace(run, inputs=tuple(path.resolve() for path in run.inputs), out=run.out.resolve())
    resources = ray.cluster_resources()
    n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    on_gpus = bool(n_gpus) and run.query.device != "cpu"
    n_workers = min(n_gpus if on_gpus else n_cpus, len(stretches))
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    answers = ray.data.from_items(stretches, override_num_blocks=len(stretches)).flat_map(
        ClusterWorker,
        fn_constructor_args=(there,),
        concurrency=(1, max(1, n_workers)),
        num_gpus=1 if on_gpus else 0,
        num_cpus=0 if on_gpus else 1,
    )
    total = sum(len(each["numbers"]) for each in stretches)
    with tqdm(initial=len(journal), total=len(journal) + total, unit="image") as bar:
        for row in answers.iter_rows():
            key = (int(row["input"]), int(row["number"]))
            error = recorded_result_from_json(row["line"]).error
            if error:
                where = f"{run.inputs[key[0]]}: image {key[1]}"
                tqdm.write(f"{where} ignored: {error}", file=sys.stderr)
            journal.write(key, row["line"])
            bar.update()


def _stretches(run: LabelRun, journal: Journal) -> list[dict[str, Any]]:
    """Images without an answer, a few of one input together. Reads the recordings, decodes none."""
    stretches = []
    for of_input, source in enumerate(open_inputs(run)):
        n_pictures = sum(1 for _ in source.pictures(run.every))
        missing = [n for n in range(n_pictures) if (of_input, n) not in journal]
        stretches += [
            {"input": of_input, "numbers": missing[start : start + STRETCH]}
            for start in range(0, len(missing), STRETCH)
        ]
    return stretches


class ClusterWorker:
    """A worker: its own models and its own readers."""

    def __init__(self, run: LabelRun) -> None:
        """Load and open everything."""
        self._run = run
        self._models = load_models(run.query)
        self._sources = open_inputs(run)
        self._keep = ImageFolder(run.out / IMAGES)
        self._reading: tuple[int, Iterator[tuple[int, Picture]]] | None = None
        self._at = -1  # number of the picture read last

    def __call__(self, stretch: dict[str, Any]) -> list[dict[str, Any]]:
        """Look at the images of a stretch."""
        of_input, rows = int(stretch["input"]), []
        for number in stretch["numbers"]:
            picture = self._picture(of_input, int(number))
            frame, answered = infer_image(self._models, picture, self._run.query.expressions)
            if frame is not None:
                self._keep(of_input, int(number), picture, frame)
            rows.append({"input": of_input, "number": int(number), "line": answered.to_json()})
        return rows

    def _picture(self, of_input: int, number: int) -> Picture:
        """Go on reading where that leads to the picture, else begin anew."""
        if self._reading is None or self._reading[0] != of_input or self._at >= number:
            pictures = enumerate(self._sources[of_input].pictures(self._run.every))
            self._reading = (of_input, pictures)
        for at, picture in self._reading[1]:
            self._at = at
            if at == number:
                return picture
        raise RuntimeError(f"{self._run.inputs[of_input]}: image {number} is not there any more")
