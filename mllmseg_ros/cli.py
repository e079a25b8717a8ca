# SPDX-License-Identifier: Apache-2.0
"""The ``mllmseg`` command: one short function per verb. Entry point: :func:`main`.

Each verb imports what it needs when it runs, so that ``mllmseg --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0, or 1 after one line on stderr that says what was wrong.
    """
    asked = _parser().parse_args(arguments)
    try:
        asked.run(asked)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"mllmseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mllmseg", description="Referring-expression segmentation: words in, masks out."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    segment = verbs.add_parser("segment", help="mark what expressions name in a picture")
    segment.add_argument("image", type=Path)
    segment.add_argument("expressions", nargs="+", metavar="EXPRESSION")
    segment.add_argument("-o", "--output", type=Path, help="overlay picture to write")
    segment.add_argument("--json", type=Path, help="result file to write, - for stdout")
    segment.add_argument("--prompt", choices=("single", "joint"), default="single")
    _add_model(segment)
    segment.set_defaults(run=_segment)

    convert = verbs.add_parser("convert", help="pytorch_model.bin to safetensors, once")
    convert.add_argument("folder", type=Path)
    convert.set_defaults(run=_convert)

    _add_models(verbs)

    doctor = verbs.add_parser("doctor", help="can the model run on this machine?")
    _add_model(doctor)
    doctor.set_defaults(run=_doctor)

    sim = verbs.add_parser("sim", help="the simulated tabletop").add_subparsers(
        required=True, metavar="VERB"
    )
    render = sim.add_parser("render", help="render scenes for training; a second call goes on")
    render.add_argument("out", type=Path, help="folder; each split gets one of its own in it")
    render.add_argument("--split", default="train", help="a split of sim/draw_scene.py")
    render.add_argument("--scenes", type=int, required=True, help="number of scenes, from seed 0")
    render.add_argument("--processes", type=int, default=1)
    render.set_defaults(run=_render)

    export = sim.add_parser(
        "export", help="write scenes as a data set in your own pictures' format"
    )
    export.add_argument("out", type=Path, help="folder, new or empty")
    export.add_argument("--split", default="train", help="a split of sim/draw_scene.py")
    export.add_argument("--scenes", type=int, default=100, help="number of scenes")
    export.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    export.add_argument("--expressions", type=int, default=6, help="per scene")
    export.set_defaults(run=_export)

    _add_data(verbs)

    recipes = verbs.add_parser("train", help="train a model").add_subparsers(
        required=True, metavar="RECIPE"
    )
    _add_paper(recipes)
    train = recipes.add_parser("tabletop", help="the embedded model, on rendered scenes; resumes")
    train.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    train.add_argument(
        "--scenes",
        type=Path,
        help="folder of mllmseg sim render; default: rendered here, into the run",
    )
    train.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoint folder to start from",
    )
    train.add_argument("--recipe", default="tabletop", help="YAML file; default: as shipped")
    train.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    train.set_defaults(run=_train)

    _add_adapt(verbs)

    measure = verbs.add_parser("eval", help="measure a model")
    measure.add_argument(
        "data", help="tabletop (simulated scenes), or the folder of a data set (mllmseg data check)"
    )
    measure.add_argument("--split", help="default: test of the tabletop, train of a data set")
    measure.add_argument("--json", type=Path, help="report file to write, - for stdout")
    measure.add_argument("--worst", type=Path, help="picture of the worst answers to write (PNG)")
    _add_model(measure)
    scenes = measure.add_argument_group("tabletop")
    scenes.add_argument("--expressions", type=int, default=1000, help="how many to ask")
    scenes.add_argument("--seed", type=int, default=0, help="of the expressions")
    folder = measure.add_argument_group("data set")
    folder.add_argument(
        "--images", type=Path, nargs="+", default=(), help="folders of the pictures, if elsewhere"
    )
    folder.add_argument(
        "--protocol",
        choices=("paper", "deployment", "both"),
        help="paper: joint prompt with the true answers in it; deployment: as the node asks",
    )
    folder.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    folder.add_argument("--reliability", type=Path, help="plot of what confidences are worth (PNG)")
    folder.add_argument(
        "--false-accept",
        type=float,
        metavar="SHARE",
        help="print the threshold at which no more absent things than that are accepted",
    )
    folder.add_argument("--threshold", type=float, help="of the score; default: the model's own")
    folder.add_argument(
        "--perturb", action="store_true", help="again under typos, noise and the like: what is lost"
    )
    measure.set_defaults(run=_evaluate)
    return parser


def _add_models(verbs: Any) -> None:
    models = verbs.add_parser("models", help="checkpoints on this machine").add_subparsers(
        required=True, metavar="VERB"
    )
    models.add_parser(
        "list", help="published checkpoints, their size, and which are here"
    ).set_defaults(run=_list_models)
    download = models.add_parser("download", help="bring one here; a second call goes on")
    download.add_argument("name", help="as mllmseg models list has it, or owner/name")
    download.add_argument("--to", type=Path, metavar="FOLDER", help="default: where it is found")
    download.set_defaults(run=_download)
    verify = models.add_parser("verify", help="shards, headers, lengths and sums; no network")
    verify.add_argument("model", nargs="?", help="folder or name; default: the embedded model")
    verify.set_defaults(run=_verify)


def _add_paper(recipes: Any) -> None:
    start = recipes.add_parser("start", help="InternVL2.5 to an untrained MLLMSeg")
    start.add_argument("source", type=Path, help="folder of InternVL2.5")
    start.add_argument("out", type=Path, help="folder to write, new or empty")
    start.add_argument("--seed", type=int, default=0)
    start.set_defaults(run=_start)
    for name, what in (
        ("res", "as the paper's first stage: one target per expression"),
        ("gres", "as its second stage: many targets, or none"),
    ):
        stage = recipes.add_parser(name, help=f"{what}; resumes a run")
        stage.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
        stage.add_argument(
            "--from",
            dest="start",
            type=Path,
            metavar="CHECKPOINT",
            required=True,
            help="checkpoint to start from",
        )
        stage.add_argument(
            "--data", type=Path, nargs="+", required=True, help="data sets, see mllmseg data check"
        )
        stage.add_argument("--split", help="of the data sets; default: train")
        stage.add_argument(
            "--images",
            type=Path,
            nargs="+",
            default=(),
            help="folders of the pictures, if elsewhere",
        )
        stage.add_argument("--recipe", default=name, help="YAML file; default: as published")
        stage.add_argument(
            "--features", type=Path, help="folder to keep the frozen vision side's outputs in"
        )
        stage.add_argument("--steps", type=int, help="instead of the recipe's")
        stage.add_argument("--precision", choices=("bf16", "fp32"), help="instead of the recipe's")
        stage.set_defaults(run=_train_as_in_paper)


def _add_adapt(verbs: Any) -> None:
    adapt = verbs.add_parser("adapt", help="teach a model your own things; resumes a run")
    adapt.add_argument("data", type=Path, help="your pictures, see mllmseg data check")
    adapt.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    adapt.add_argument("--split", help="of the data set; default: train")
    adapt.add_argument(
        "--images", type=Path, nargs="+", default=(), help="folders of the pictures, if elsewhere"
    )
    adapt.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="data set that the model must not forget; default: simulated scenes",
    )
    adapt.add_argument("--keep-split", help="of that data set; default: train")
    adapt.add_argument("--recipe", default="adapt", help="YAML file; default: ours")
    adapt.add_argument("--steps", type=int, help="instead of the recipe's")
    adapt.add_argument(
        "--trained", choices=("all", "lora", "decoder"), help="instead of the recipe's"
    )
    adapt.add_argument("--features", type=Path, help="folder to keep frozen outputs in")
    adapt.add_argument("--model", help="checkpoint folder or name; default: the embedded model")
    adapt.add_argument("--device", help="auto, cpu, cuda, cuda:N")
    adapt.set_defaults(run=_adapt)


def _add_data(verbs: Any) -> None:
    check = (
        verbs.add_parser("data", help="data sets of referring expressions")
        .add_subparsers(required=True, metavar="VERB")
        .add_parser("check", help="look a data set through: all problems at once, and a picture")
    )
    check.add_argument("folder", type=Path, help="RefCOCO and its like, ReasonSeg, or your own")
    check.add_argument("--split", help="which part of it; default: train")
    check.add_argument(
        "--images", type=Path, nargs="+", default=(), help="folders of the pictures, if elsewhere"
    )
    check.add_argument("-o", "--output", type=Path, help="contact sheet to write (PNG)")
    check.set_defaults(run=_check)


def _add_images(parser: Any) -> None:
    parser.add_argument(
        "--images", type=Path, nargs="+", default=(), help="folders of the pictures, if elsewhere"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="checkpoint folder or name; default: the embedded model")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", help="auto, float32, bfloat16, float16")


def _load(asked: argparse.Namespace) -> Any:
    from mllmseg_ros.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(asked.model, device=asked.device, dtype=asked.dtype)
    if segmenter.synthetic_only:
        print(f"{segmenter.name} knows simulated tabletop scenes only", file=sys.stderr)
    return segmenter


def _write_json(fields: Any, path: Path | None) -> None:
    if path is None:
        return
    text = json.dumps(fields, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def _segment(asked: argparse.Namespace) -> None:
    import cv2
    import numpy as np

    from mllmseg_ros.overlay import draw_overlay

    encoded = np.frombuffer(asked.image.read_bytes(), np.uint8)
    try:
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error as error:
        raise ValueError(f"{asked.image}: OpenCV cannot read it ({error.err})") from error
    if bgr is None:
        raise ValueError(f"{asked.image}: not a picture that OpenCV can read (PNG, JPEG, …)")
    rgb = np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)
    answers = _load(asked)(rgb, asked.expressions, prompt=asked.prompt)
    for answer in answers:
        score = "" if math.isnan(answer.score) else f"  score {answer.score:.2f}"
        print(
            f"{answer.expression!r}: {answer.status.value}{score}"
            f"  mask score {answer.mask_score:.2f}  {answer.area_px} px  box {answer.box_xyxy}"
        )
    if asked.output is not None:
        _write_picture(draw_overlay(rgb, answers), asked.output)
    _write_json([_fields(answer) for answer in answers], asked.json)


def _write_picture(rgb: Any, path: Path) -> None:
    import cv2

    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:  # an ending that OpenCV does not know
        raise ValueError(f"{path}: could not be written ({error.err})") from error
    if not written:
        raise ValueError(f"{path}: could not be written")


def _fields(answer: Any) -> dict[str, Any]:
    """An answer without its arrays; no number that JSON cannot say."""
    fields = {
        name: getattr(answer, name)
        for name in (
            "expression",
            "found",
            "mask_score",
            "box_xyxy",
            "centroid_uv",
            "inside_uv",
            "area_px",
        )
    }
    score = None if math.isnan(answer.score) else answer.score
    return {**fields, "status": answer.status.value, "score": score}


def _convert(asked: argparse.Namespace) -> None:
    from mllmseg_ros.convert import convert_checkpoint

    for path in convert_checkpoint(asked.folder):
        print(path)


def _doctor(asked: argparse.Namespace) -> None:
    from mllmseg_ros.doctor import examine, report

    if report(examine(asked.model, asked.device, asked.dtype)):
        raise ValueError("something fails, see above (of ROS 2: ros2 run mllmseg_ros doctor)")


def _list_models(asked: argparse.Namespace) -> None:
    from mllmseg_ros.hub import EMBEDDED, PUBLISHED, is_downloaded
    from mllmseg_ros.integrity import count_values

    print(f"{'name':28}{'bfloat16':>9}  here")
    print(f"{'(embedded)':28}{count_values(EMBEDDED) * 2e-9:6.2f} GB  yes")
    for each in PUBLISHED:
        here = "yes" if is_downloaded(each) else f"mllmseg models download {each.name}"
        print(f"{each.name:28}{each.n_bytes() / 1e9:6.2f} GB  {here}")


def _download(asked: argparse.Namespace) -> None:
    from mllmseg_ros.hub import download

    print(download(asked.name, asked.to, report=lambda line: print(line, file=sys.stderr)))


def _verify(asked: argparse.Namespace) -> None:
    from mllmseg_ros.hub import find_checkpoint
    from mllmseg_ros.integrity import check

    folder = find_checkpoint(asked.model)
    report = check(folder)
    for problem in report.problems:
        print(problem)
    print(f"{folder}: {report.checked}")
    if report.problems:
        raise ValueError(f"{folder} is not whole: {len(report.problems)} problem(s)")


def _render(asked: argparse.Namespace) -> None:
    from mllmseg_ros.sim.dataset import render_dataset

    render_dataset(
        asked.out / asked.split, asked.split, 0, asked.scenes, n_processes=asked.processes
    )


def _export(asked: argparse.Namespace) -> None:
    from mllmseg_ros.sim.export import export_scenes

    n = export_scenes(
        asked.out, asked.split, asked.first_seed, asked.scenes, n_expressions=asked.expressions
    )
    print(f"{asked.out}: {asked.scenes} pictures, {n} expressions")


def _check(asked: argparse.Namespace) -> None:
    from mllmseg_ros.data.check import check, contact_sheet
    from mllmseg_ros.data.dataset import read_samples

    report = check(read_samples(asked.folder, asked.split, asked.images))
    print(report)
    if asked.output is not None:
        _write_picture(contact_sheet(report.samples), asked.output)
    if report.problems:
        raise ValueError(f"{asked.folder}: {len(report.problems)} entries cannot be used")


def _start(asked: argparse.Namespace) -> None:
    from mllmseg_ros.train.paper.start import start_from_internvl

    print(start_from_internvl(asked.source, asked.out, asked.seed))


def _train_as_in_paper(asked: argparse.Namespace) -> None:
    from dataclasses import replace

    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.train.paper.recipe import PaperRecipe
    from mllmseg_ros.train.paper.training import train_as_in_paper
    from mllmseg_ros.train.recipe_file import read_recipe

    recipe = read_recipe(PaperRecipe, asked.recipe, steps=asked.steps, precision=asked.precision)
    data_sets = [load_samples(folder, asked.split, asked.images) for folder in asked.data]
    if asked.features is not None:  # a picture that is changed at every turn has no features
        recipe = replace(recipe, recompress=False)
    print(train_as_in_paper(asked.run_folder, asked.start, data_sets, recipe, asked.features))


def _adapt(asked: argparse.Namespace) -> None:
    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.hub import find_checkpoint
    from mllmseg_ros.train.adapt.adapt import adapt
    from mllmseg_ros.train.adapt.known import of_data_set, simulated
    from mllmseg_ros.train.adapt.recipe import AdaptRecipe
    from mllmseg_ros.train.recipe_file import read_recipe

    recipe = read_recipe(AdaptRecipe, asked.recipe, steps=asked.steps, trained=asked.trained)
    samples = load_samples(asked.data, asked.split, asked.images)
    if asked.keep is None:
        known = simulated(asked.run_folder / "simulated")
        if known is None:
            print(
                "no simulator here (pip install '.[sim]', off-screen OpenGL): nothing is "
                "rehearsed, nor is it measured what is forgotten; --keep names a set of your own",
                file=sys.stderr,
            )
    else:
        kept = load_samples(asked.keep, asked.keep_split)
        known = of_data_set(kept, recipe.held_out_share, recipe.seed)
    report = adapt(
        asked.run_folder,
        find_checkpoint(asked.model),
        samples,
        known,
        recipe,
        asked.features,
        asked.device,
    )
    print(report)
    print(asked.run_folder / "model")


def _train(asked: argparse.Namespace) -> None:
    from mllmseg_ros.train.recipe_file import read_recipe
    from mllmseg_ros.train.run_state import agree_on_recipe
    from mllmseg_ros.train.tabletop.recipe import TabletopRecipe
    from mllmseg_ros.train.tabletop.scenes import render_scenes
    from mllmseg_ros.train.tabletop.training import told, train_tabletop

    recipe = read_recipe(TabletopRecipe, asked.recipe)
    scenes = asked.scenes or asked.run_folder / "scenes"
    if asked.scenes is None:
        agree_on_recipe(asked.run_folder, told(recipe, asked.start))
        render_scenes(scenes, recipe)
    folder = train_tabletop(
        asked.run_folder, scenes, recipe, start=asked.start, threads=asked.threads
    )
    print(folder)


def _evaluate_data(asked: argparse.Namespace) -> None:
    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.eval.calibration import draw_reliability, reliability, threshold_for
    from mllmseg_ros.eval.dataset import PROTOCOLS, evaluate_samples, to_text
    from mllmseg_ros.eval.robustness import evaluate_robustness, robustness_table
    from mllmseg_ros.eval.worst import draw_worst

    wanted = PROTOCOLS if asked.protocol in (None, "both") else (asked.protocol,)
    deployed = (asked.worst, asked.reliability, asked.false_accept)
    if "deployment" not in wanted and any(each is not None for each in deployed):
        raise ValueError("--worst, --reliability and --false-accept need the deployment protocol")
    segmenter = _load(asked)
    if asked.threshold is not None:
        segmenter.threshold = asked.threshold
    if asked.false_accept is not None and not segmenter.can_reject:
        raise ValueError(f"{segmenter.name} was not trained to reject: it has no score")
    samples = load_samples(Path(asked.data), asked.split, asked.images)
    report = evaluate_samples(segmenter, samples, wanted)
    out = sys.stderr if str(asked.json) == "-" else sys.stdout  # stdout is then the JSON's alone
    fields = report.to_dict()
    print(to_text(report, markdown=asked.markdown), file=out)
    if asked.perturb:
        rows = evaluate_robustness(segmenter, samples)
        print(robustness_table(rows, markdown=asked.markdown), file=out)
        fields["robustness"] = [row.to_dict() for row in rows]
    answers = report.asked.get("deployment", ())
    there = [each for each in answers if each.judged.target_px]
    if asked.worst is not None:
        _write_picture(draw_worst(segmenter, [each.case for each in answers]), asked.worst)
    if asked.reliability is not None:
        curves = {
            "mask score": reliability(
                [each.mask_score for each in there], [each.iou > 0.5 for each in there]
            )
        }
        if segmenter.can_reject:
            curves["score"] = reliability(
                [each.score for each in answers], [each.judged.target_px > 0 for each in answers]
            )
        _write_picture(draw_reliability(curves), asked.reliability)
        fields["calibration"] = {name: curve.expected_error for name, curve in curves.items()}
    _write_json(fields, asked.json)
    if asked.false_accept is not None:
        absent = [each.score for each in answers if not each.judged.target_px]
        # Rounded up: the printed number is the one that holds.
        threshold = math.ceil(1e6 * threshold_for(asked.false_accept, absent)) / 1e6
        kept = sum(each.score >= threshold for each in there) / max(1, len(there))
        wrong = sum(score >= threshold for score in absent) / len(absent)
        text = f"threshold: {threshold:.6f}  # accepts {100 * kept:.1f} % of what is there"
        if threshold > 1:
            text = "no threshold up to 1 does that: what is not there scores as high as can be"
        print(f"{text}, {100 * wrong:.1f} % of what is not", file=out)


def _evaluate(asked: argparse.Namespace) -> None:
    if asked.data != "tabletop":
        _evaluate_data(asked)
        return
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("images", "protocol", "markdown", "reliability", "false_accept", "perturb")
        if getattr(asked, name)
    ]
    if given or asked.threshold is not None:
        raise ValueError(
            f"{', '.join(given) or '--threshold'}: for the folder of a data set; "
            "`mllmseg sim export` writes scenes as one"
        )
    from mllmseg_ros.eval.tabletop import evaluate_tabletop, to_text
    from mllmseg_ros.eval.worst import draw_worst

    segmenter = _load(asked)
    report, worst = evaluate_tabletop(
        segmenter, split=asked.split or "test", n_expressions=asked.expressions, seed=asked.seed
    )
    if asked.worst is not None:
        _write_picture(draw_worst(segmenter, worst), asked.worst)
    print(to_text(report), file=sys.stderr if str(asked.json) == "-" else sys.stdout)
    _write_json(report.to_dict(), asked.json)


if __name__ == "__main__":
    sys.exit(main())
