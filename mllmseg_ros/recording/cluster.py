# SPDX-License-Identifier: Apache-2.0
"""Run models on recordings on several machines, with Ray Data.

Each actor loads the models: one actor per GPU, or per CPU core without GPUs. Actors take batches of
images, read them from the same paths as this process, and return results, which go into the same
journal. If an actor dies, Ray gives its batch to another one.
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
from mllmseg_ros.recording.recorded_image import RecordedImage
from mllmseg_ros.recording.results import Journal, recorded_result_from_json

__all__ = ["run_on_cluster"]

BATCH_SIZE = 8  # images; at most so many are repeated when a worker dies


def run_on_cluster(run: LabelRun, address: str, journal: Journal) -> None:
    """Run the models on every image that has no result in the journal.

    Args:
        run: inputs, query and output; all machines must have its paths.
        address: address of the cluster, "auto" for the one of this machine, "local" to start one.
        journal: stores the results.

    Raises:
        RuntimeError: There is no such cluster, or inference fails on it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    batches = _make_batches(run, journal)
    if not batches:
        return
    must_init = not ray.is_initialized()
    if must_init:
        try:
            local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
        except (ConnectionError, ValueError) as error:
            raise RuntimeError(f"no Ray cluster at {address}: {error}") from error
    try:
        _infer(ray, run, batches, journal)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1][:500]
        raise RuntimeError(f"inference failed on the cluster: {reason}") from error
    finally:
        if must_init:
            ray.shutdown()


def _infer(ray: Any, run: LabelRun, batches: list[dict[str, Any]], journal: Journal) -> None:
    resolved = replace(
        run, inputs=tuple(path.resolve() for path in run.inputs), out=run.out.resolve()
    )
    resources = ray.cluster_resources()
    n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    on_gpus = bool(n_gpus) and run.query.device != "cpu"
    n_workers = min(n_gpus if on_gpus else n_cpus, len(batches))
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items(batches, override_num_blocks=len(batches)).flat_map(
        ClusterWorker,
        fn_constructor_args=(resolved,),
        concurrency=(1, max(1, n_workers)),
        num_gpus=1 if on_gpus else 0,
        num_cpus=0 if on_gpus else 1,
    )
    n_missing = sum(len(batch["numbers"]) for batch in batches)
    total = len(journal) + n_missing
    with tqdm(desc="segmenting", initial=len(journal), total=total, unit="image") as bar:
        for row in rows.iter_rows():
            key = (int(row["input"]), int(row["number"]))
            error = recorded_result_from_json(row["line"]).error
            if error:
                where = f"{run.inputs[key[0]]}: image {key[1]}"
                tqdm.write(f"{where} ignored: {error}", file=sys.stderr)
            journal.write(key, row["line"])
            bar.update()


def _make_batches(run: LabelRun, journal: Journal) -> list[dict[str, Any]]:
    """Group images without a result into batches of one input, without decoding images."""
    batches = []
    keys: set[tuple[int, int]] = set()
    for input_index, source in enumerate(open_inputs(run)):
        n_images = sum(1 for _ in source.images(run.every))
        keys.update((input_index, number) for number in range(n_images))
        missing = [n for n in range(n_images) if (input_index, n) not in journal]
        batches += [
            {"input": input_index, "numbers": missing[start : start + BATCH_SIZE]}
            for start in range(0, len(missing), BATCH_SIZE)
        ]
    journal.keep(keys)
    return batches


class ClusterWorker:
    """An actor with its own models and readers."""

    def __init__(self, run: LabelRun) -> None:
        """Load the models and open the recordings."""
        self._run = run
        self._models = load_models(run.query)
        self._sources = open_inputs(run)
        self._image_folder = ImageFolder(run.out / IMAGES)
        self._reading: tuple[int, Iterator[tuple[int, RecordedImage]]] | None = None
        self._last_number = -1  # of the image read last

    def __call__(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """Run the models on the images of a batch."""
        input_index, rows = int(batch["input"]), []
        for number in batch["numbers"]:
            image = self._read_image(input_index, int(number))
            frame, result = infer_image(self._models, image, self._run.query.expressions)
            if frame is not None:
                self._image_folder.save(input_index, int(number), image, frame)
            rows.append({"input": input_index, "number": int(number), "line": result.to_json()})
        return rows

    def _read_image(self, input_index: int, number: int) -> RecordedImage:
        """Read on to an image, or from the start of the recording if it was passed."""
        if self._reading is None or self._reading[0] != input_index or self._last_number >= number:
            images = enumerate(self._sources[input_index].images(self._run.every))
            self._reading = (input_index, images)
        for index, image in self._reading[1]:
            self._last_number = index
            if index == number:
                return image
        raise RuntimeError(f"{self._run.inputs[input_index]}: image {number} no longer exists")
