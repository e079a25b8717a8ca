# SPDX-License-Identifier: Apache-2.0
"""The staged path against the naive one, and what a Segmenter promises its callers."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from mllmseg_ros.cli import main
from mllmseg_ros.language import vocabulary
from mllmseg_ros.model.pixels import resize_to_square, to_image_size, to_pixel_values
from mllmseg_ros.model.prompt import Prompt
from mllmseg_ros.segmentation import Segmentation, build_segmentation
from mllmseg_ros.segmenter import NotFiniteError, Segmenter, Status
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.samples import N_SAMPLES, load_sample, sample_expressions

EXPRESSIONS = ["the red mug", "Bowl.", "all the small blue cans left of the ball"]
FRAME = Path(__file__).resolve().parents[2] / "mllmseg_ros" / "assets" / "frames" / "frame_0.png"
EXACT = 1e-4  # float32, other order of summation


@torch.inference_mode()
def naive(
    segmenter: Segmenter, image: NDArray[np.uint8], prompt: Prompt
) -> tuple[torch.Tensor, NDArray[np.float32]]:
    """Scores (N,) and probabilities (N, H, W) of one whole prompt, nothing shared or cached."""
    pixels = to_pixel_values(resize_to_square(image, segmenter.model.config.image_size_px))
    done = segmenter.model(
        pixels[None], torch.tensor(prompt.input_ids), prompt.image_start, prompt.answer_positions
    )
    before = torch.tensor(prompt.answer_positions) - 1
    ids = [segmenter.prompts.seg_id, segmenter.prompts.rej_id]
    scores = torch.softmax(done.logits[before][:, ids], dim=-1)[:, 0]
    size_hw = (image.shape[0], image.shape[1])
    return scores, to_image_size(done.mask_logits.sigmoid(), size_hw).numpy()


def test_single_prompt_equals_the_naive_pass(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    context = random_segmenter.encode(image)
    staged = random_segmenter.segment(context, EXPRESSIONS)
    for segmentation, expression in zip(staged, EXPRESSIONS, strict=True):
        scores, probability = naive(
            random_segmenter, image, random_segmenter.prompts.build([expression])
        )
        assert abs(segmentation.score - float(scores[0])) < EXACT
        assert np.abs(segmentation.probability - probability[0]).max() < EXACT


@pytest.mark.parametrize("prompt_mode", ["single", "joint"])
def test_one_pass_equals_two(
    random_segmenter: Segmenter, image: NDArray[np.uint8], prompt_mode: str
) -> None:
    two_passes = random_segmenter.encode(image)
    context, results = random_segmenter.encode_and_segment(image, EXPRESSIONS, prompt_mode)
    expected = random_segmenter.segment(two_passes, EXPRESSIONS, prompt_mode)
    later = random_segmenter.segment(context, EXPRESSIONS, prompt_mode)
    for ours in (results, later):
        for one, two in zip(ours, expected, strict=True):
            assert one.score == pytest.approx(two.score, abs=1e-5)
            assert np.abs(one.probability - two.probability).max() < 1e-5
    for ours, theirs in zip(
        context.features.prefix_cache, two_passes.features.prefix_cache, strict=True
    ):
        assert (ours[0] - theirs[0]).abs().max() < 1e-5
        assert (ours[1] - theirs[1]).abs().max() < 1e-5


def test_many_expressions_are_read_in_several_passes(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    long = "a mug on a table left of the ball " * 12
    texts = [f"{number} {long}" for number in range(16)]
    context, results = random_segmenter.encode_and_segment(image, texts)
    assert len(results) == 16
    for index in (0, 8, 15):
        (alone,) = random_segmenter.segment(context, [texts[index]])
        assert np.abs(alone.probability - results[index].probability).max() < EXACT


def test_output_that_is_not_finite_is_an_error(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    """As of a model whose half precision overflows: that is not a rejection."""
    context = random_segmenter.encode(image)
    for weight in (random_segmenter.model.lm_head.weight, *_last_of_decoder(random_segmenter)):
        sound = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(RuntimeError, match=r"is not finite in torch\.float32"):
            random_segmenter.segment(context, EXPRESSIONS)
        with torch.no_grad():
            weight.copy_(sound)
    assert len(random_segmenter.segment(context, EXPRESSIONS)) == len(EXPRESSIONS)


def _last_of_decoder(segmenter: Segmenter) -> list[torch.nn.Parameter]:
    return list(segmenter.model.mask_decoder.parameters())[-1:]


def test_joint_prompt_equals_the_naive_pass(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    staged = random_segmenter.segment(
        random_segmenter.encode(image), EXPRESSIONS, prompt_mode="joint"
    )
    scores, probability = naive(
        random_segmenter, image, random_segmenter.prompts.build(EXPRESSIONS)
    )
    for index, segmentation in enumerate(staged):
        assert abs(segmentation.score - float(scores[index])) < EXACT
        assert np.abs(segmentation.probability - probability[index]).max() < EXACT


def test_one_expression_never_changes_another(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    context = random_segmenter.encode(image)
    together = random_segmenter.segment(context, EXPRESSIONS)[1]
    alone = random_segmenter.segment(context, EXPRESSIONS[1:2])[0]
    assert np.abs(together.probability - alone.probability).max() < EXACT
    # … while in the joint prompt, as in the paper, it does.
    joint = random_segmenter.segment(context, EXPRESSIONS, prompt_mode="joint")[1]
    assert abs(joint.score - alone.score) > EXACT


def test_asking_twice_leaves_the_context_as_it_was(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    context = random_segmenter.encode(image)
    first = random_segmenter.segment(context, EXPRESSIONS[:1])[0]
    random_segmenter.segment(context, EXPRESSIONS)
    again = random_segmenter.segment(context, EXPRESSIONS[:1])[0]
    assert np.array_equal(first.probability, again.probability)


def test_fields_of_an_answer(random_segmenter: Segmenter, image: NDArray[np.uint8]) -> None:
    (segmentation,) = random_segmenter(image, ["  The RED mug. "])
    assert segmentation.expression == "  The RED mug. "
    assert segmentation.mask.shape == segmentation.probability.shape == image.shape[:2]
    assert segmentation.probability.dtype == np.float32
    assert np.array_equal(segmentation.mask, segmentation.probability >= 0.5)
    assert segmentation.area_px == segmentation.mask.sum()
    assert (segmentation.box_xyxy is None) == (segmentation.area_px == 0)
    assert 0 <= segmentation.score <= 1


def test_no_expression_gives_no_answer(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    assert random_segmenter(image, []) == []


@pytest.mark.parametrize(
    ("can_reject", "threshold", "absent"),
    [(True, 0.0, False), (True, 1.1, True), (False, 1.1, None)],
)
def test_deciding(
    random_checkpoint: Path,
    image: NDArray[np.uint8],
    can_reject: bool,
    threshold: float,
    absent: bool | None,
) -> None:
    segmenter = Segmenter.from_pretrained(random_checkpoint, device="cpu", dtype="float32")
    segmenter.can_reject, segmenter.threshold = can_reject, threshold
    (segmentation,) = segmenter(image, ["the red mug"])
    assert math.isnan(segmentation.score) == (not can_reject)
    if absent is None:  # it always segments something
        absent = not segmentation.raw_mask.any()
    assert (segmentation.status is Status.NO_TARGET) == absent
    if not can_reject:
        # The mask-score limit turns the same mask from found into doubtful.
        segmenter.model.mask_decoder.conv2.bias.data.fill_(1.0)
        segmenter.min_mask_score = 0.0
        assert segmenter(image, ["the red mug"])[0].status is Status.FOUND
        segmenter.min_mask_score = 1.0
        assert segmenter(image, ["the red mug"])[0].status is Status.LOW_CONFIDENCE


@pytest.mark.parametrize(
    ("bad", "messages"),
    [
        (np.zeros((4, 4), np.uint8), (r"\(4, 4\), expected uint8 RGB", r"np\.stack")),
        (np.zeros((4, 4, 4), np.uint8), (r"\(4, 4, 4\)", r"image\[\.\.\., :3\]")),
        (np.zeros((0, 4, 3), np.uint8), (r"\(0, 4, 3\)",)),
        (np.zeros((4, 4, 3), np.float32), ("float32", r"255 \* image")),
        (np.zeros((3, 4, 4), np.uint8), (r"transpose\(1, 2, 0\)",)),
        (np.zeros((2, 4, 4, 3), np.uint8), (r"\(2, 4, 4, 3\)", "given as a list")),
        (None, ("None, as cv2.imread returns", "BGR, convert it by cv2.cvtColor")),
        (torch.zeros(3, 4, 5), (r"torch.Tensor, torch.float32 of shape \(3, 4, 5\)",)),
        ([np.zeros((4, 4, 3), np.uint8)], ("a list of 1; segmenter",)),
        (7, ("of type int, expected uint8 RGB",)),
        ("missing.png", ("missing.png cannot be read",)),
    ],
)
def test_bad_images_are_named(
    random_segmenter: Segmenter, bad: Any, messages: tuple[str, ...]
) -> None:
    for message in messages:
        with pytest.raises(ValueError, match=message):
            random_segmenter.encode(bad)


def test_what_is_no_list_of_expressions_is_named(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    asked: Any = random_segmenter
    with pytest.raises(ValueError, match=r"one string, 'the mug'; give .*: \['the mug'\]"):
        asked(image, "the mug")
    with pytest.raises(ValueError, match=r"expressions\[1\] is of type int"):
        asked(image, ["the mug", 1])
    with pytest.raises(ValueError, match="expressions is of type NoneType"):
        asked(image, None)
    with pytest.raises(ValueError, match="context is of type ndarray, expected what encode"):
        asked.segment(image, ["the mug"])
    with pytest.raises(ValueError, match=r"images\[1\]: image is None"):
        asked([image, None], ["the mug"])
    with pytest.raises(ValueError, match="at least one"):
        asked.compute_logits(asked.encode(image), [])


def test_files_and_pil_images_are_as_arrays(
    random_segmenter: Segmenter, image: NDArray[np.uint8], tmp_path: Path
) -> None:
    pil_image, path = PIL.Image.fromarray(image), tmp_path / "image.png"
    pil_image.save(path)
    rgba = pil_image.convert("RGBA")
    (expected,) = random_segmenter(image, ["the mug"])
    for given in (pil_image, rgba, path, str(path)):
        (segmentation,) = random_segmenter(given, ["the mug"])
        assert segmentation.mask.shape == image.shape[:2]
        assert np.array_equal(segmentation.probability, expected.probability)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pil_image.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    with PIL.Image.open(tmp_path / "turned.jpg") as turned:
        size_hw = random_segmenter.encode(turned).size_hw
    assert size_hw == (image.shape[1], image.shape[0])
    assert random_segmenter.encode(tmp_path / "turned.jpg").size_hw == size_hw


@pytest.mark.parametrize("prompt_mode", ["single", "joint"])
def test_several_images_in_one_call(
    random_segmenter: Segmenter,
    image: NDArray[np.uint8],
    prompt_mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mllmseg_ros.segmenter.IMAGES_PER_PASS", 2)
    images = [image, np.ascontiguousarray(image[:, ::-1]), image[: image.shape[0] // 2]]
    expressions = ["the red mug", "a rather long expression about the bowl"]
    passes: list[int] = []
    vision = random_segmenter.torch_model.encode_vision
    monkeypatch.setattr(
        random_segmenter.torch_model,
        "encode_vision",
        lambda pixels: (passes.append(len(pixels)), vision(pixels))[1],
    )
    together = random_segmenter(images, expressions, prompt_mode)
    assert passes == [2, 1]
    for each, results in zip(images, together, strict=True):
        alone = random_segmenter(each, expressions, prompt_mode)
        for ours, reference in zip(results, alone, strict=True):
            assert ours.mask.shape == each.shape[:2]
            assert ours.expression == reference.expression
            # float32 in another order of additions
            assert np.abs(ours.probability - reference.probability).max() < 1e-4
    assert random_segmenter([], ["the mug"]) == []
    assert random_segmenter(images, []) == [[], [], []]


def test_logits_are_what_is_decided_by(
    random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    context = random_segmenter.encode(image)
    logits = random_segmenter.compute_logits(context, ["the red mug", "the bowl"])
    results = random_segmenter.segment(context, ["the red mug", "the bowl"])
    assert logits.answers.shape == (2, 2)
    for mask, result in zip(logits.masks, results, strict=True):
        values = torch.sigmoid(mask.float()).numpy()
        assert np.array_equal(values, result.probability_map.values)


def test_the_package_root_gives_the_segmenter_without_torch() -> None:
    code = (
        "import sys; from mllmseg_ros import Segmenter, Segmentation, Status; "
        "assert not {'torch', 'transformers'} & set(sys.modules); "
        "import mllmseg_ros.segmenter; assert Segmenter is mllmseg_ros.segmenter.Segmenter"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_found_and_masks_say_what_the_messages_say() -> None:
    drawn = np.zeros((4, 6), np.bool_)
    drawn[1:3, 2:5] = True

    def build(status: Status) -> Segmentation:
        return build_segmentation("a", status, 0.5, 0.9, drawn.astype(np.float32), drawn)

    for status in Status:
        segmentation = build(status)
        assert segmentation.found == (status is Status.FOUND)
        assert np.array_equal(segmentation.raw_mask, drawn)
    for status in (Status.FOUND, Status.LOW_CONFIDENCE):
        assert np.array_equal(build(status).mask, drawn)
        assert build(status).box_xyxy == (2, 1, 5, 3)
    absent = build(Status.NO_TARGET)
    assert not absent.mask.any()
    assert (absent.box_xyxy, absent.inside_uv, absent.area_px) == (None, None, 0)


@pytest.mark.parametrize(
    ("expressions", "prompt", "message"),
    [
        (["  . "], "single", "empty referring expression"),
        (["mug " * 1000], "single", "tokens, this model reads at most"),
        (["mug " * 4000], "single", "expression of 16000 characters, accepted are up to 4096"),
        ([" " * 50_000_000], "single", "expression of 50000000 characters"),
        (["mug"] * 1000, "joint", "1000 referring expressions at once, accepted are up to 256"),
        (["a mug on a table " * 6] * 256, "single", "tokens in all, accepted at once are up to"),
        (["mug"], "both", "unknown prompt_mode 'both'; accepted"),
        ("mug", "single", "one string, 'mug'; give a list"),
    ],
)
def test_bad_questions_are_named(
    random_segmenter: Segmenter,
    image: NDArray[np.uint8],
    expressions: list[str],
    prompt: str,
    message: str,
) -> None:
    context = random_segmenter.encode(image)
    with pytest.raises(ValueError, match=message):
        random_segmenter.segment(context, expressions, prompt_mode=prompt)


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [("cuda:9", None, "CUDA"), ("tpu9", None, "unknown device"), (None, "int8", "unknown dtype")],
)
def test_bad_device_or_dtype_is_named(
    random_checkpoint: Path, device: str | None, dtype: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(random_checkpoint, device=device, dtype=dtype)


@pytest.mark.parametrize(
    ("compile", "message"),
    [
        ("graphs", "compile 'graphs' needs a CUDA device, the model's is cpu"),
        ("jit", "unknown compile 'jit'; accepted: off, graphs, auto"),
    ],
)
def test_what_cannot_be_compiled_is_named(
    random_checkpoint: Path, compile: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(random_checkpoint, device="cpu", compile=compile)


def test_inference_loads_the_answer_rows_of_the_head_alone(
    random_checkpoint: Path, random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter.from_pretrained(random_checkpoint, device="cpu", dtype="float32")
    ids = [segmenter.prompts.seg_id, segmenter.prompts.rej_id]
    whole = random_segmenter.model.lm_head.weight
    assert torch.equal(segmenter.model.lm_head.weight, whole[ids])
    (ours,), (reference,) = segmenter(image, ["the mug"]), random_segmenter(image, ["the mug"])
    assert ours.score == reference.score
    with pytest.raises(ValueError, match="the naive pass needs all rows of lm_head"):
        segmenter.model(torch.zeros(1, 3, 224, 224), torch.tensor([0]), 0, [])
    with pytest.raises(ValueError, match=r"asked for are those of \[7\]"):
        segmenter.model.answer_logits(torch.zeros(1, whole.shape[1]), (ids[0], 7))


def test_float16_that_overflows_is_replaced_by_float32_with_a_warning(
    random_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: NDArray[np.uint8],
) -> None:
    # A GPU that does not compute bfloat16 would make this choice; the CPU computes float16 alike.
    choice = torch.device("cpu"), torch.float16
    monkeypatch.setattr("mllmseg_ros.model.precision.choose_device_and_dtype", lambda *_: choice)
    sound = Segmenter.from_pretrained(random_checkpoint)
    assert (sound.dtype, sound.load_warning) == (torch.float16, "")
    folder = Path(shutil.copytree(random_checkpoint, tmp_path / "large"))
    tensors = load_file(folder / "model.safetensors")
    tensors["mlp1.1.weight"] *= 1e8  # finite in float32, not in float16
    save_file(tensors, folder / "model.safetensors")
    with pytest.warns(UserWarning, match="overflows in float16"):
        segmenter = Segmenter.from_pretrained(folder)
    assert segmenter.dtype == torch.float32
    assert "it runs in float32, which takes twice the memory" in segmenter.load_warning
    assert np.isfinite(segmenter(image, ["the mug"])[0].probability).all()
    asked = Segmenter.from_pretrained(folder, dtype="float16")
    with pytest.raises(NotFiniteError, match=r"not finite in torch\.float16"):
        asked(image, ["the mug"])


def test_a_gpu_that_is_not_used_is_warned_about(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mllmseg_ros.model.precision.find_gpu_problem", lambda: "there is an NVIDIA GPU"
    )
    with pytest.warns(UserWarning, match="runs on the CPU: there is an NVIDIA GPU"):
        Segmenter.from_pretrained(random_checkpoint)
    wanted = Segmenter.from_pretrained(random_checkpoint, device="cpu")  # as asked for
    assert wanted.load_warning == ""


def test_bfloat16_draws_nearly_the_same(
    random_checkpoint: Path, random_segmenter: Segmenter, image: NDArray[np.uint8]
) -> None:
    coarse = Segmenter.from_pretrained(random_checkpoint, device="cpu", dtype="bfloat16")
    assert coarse.dtype is torch.bfloat16
    ours, reference = coarse(image, ["the red mug"])[0], random_segmenter(image, ["the red mug"])[0]
    assert np.abs(ours.probability - reference.probability).max() < 0.05


@pytest.fixture(scope="module")
def embedded() -> Segmenter:
    return Segmenter.from_pretrained(device="cpu", dtype="float32")


def test_a_word_that_was_never_taught_makes_no_sure_answer(embedded: Segmenter) -> None:
    rgb = cv2.cvtColor(cv2.imread(str(FRAME)), cv2.COLOR_BGR2RGB)
    known, unknown, noise, absent = embedded(
        rgb, ["my red coffee mug", "the screwdriver", "???", "the banana"]
    )
    assert (known.status, known.doubt) == (Status.FOUND, "")
    assert unknown.score > embedded.threshold  # the model itself is sure
    assert (unknown.status, unknown.found) == (Status.LOW_CONFIDENCE, False)
    assert unknown.doubt == "mllmseg-tabletop was not trained on 'screwdriver'"
    assert noise.status is not Status.FOUND
    assert (absent.status, absent.doubt) == (Status.NO_TARGET, "")
    embedded.threshold = 1.0
    try:
        (rejected,) = embedded(rgb, ["the screwdriver"])
    finally:
        embedded.threshold = 0.5
    assert (rejected.status, rejected.doubt) == (Status.NO_TARGET, unknown.doubt)


def test_the_embedded_model_knows_what_its_scenes_are_spoken_about_with(
    embedded: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [each.text for index in range(N_SAMPLES) for each in sample_expressions(index)]
    rng = np.random.default_rng(0)
    for names in (vocabulary.PLAIN, vocabulary.VARIED):
        for index in range(N_SAMPLES):
            drawn = draw_expressions(load_sample(index).objects, rng, 500, language=names)
            texts += [each.text for each in drawn]
        texts += [word for forms in names.nouns.values() for words in forms for word in words]
    unknown = [text for text in texts if embedded.unknown_words(text)]
    assert len(unknown) < len(texts) / 200, unknown  # "erd-colored": typos that split words
    assert embedded.unknown_words("Ein roter Becher, 3 mugs") == ["ein", "roter", "becher"]
    assert embedded.unknown_words("the blakc botlte and the mgu on the table") == ["mgu"]
    silent = dataclasses.replace(embedded.model.config, known_words=frozenset())
    monkeypatch.setattr(embedded.model, "config", silent)  # as of one that began as an LLM
    assert embedded.unknown_words("the spaceship") == []


def test_the_command_takes_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    texts = ["my hands are full, could you get me the red mug", "the banana"]
    assert main(["segment", str(FRAME), *texts, "--json", str(out)]) == 0
    mug, banana = json.loads(out.read_text())
    assert (mug["expression"], mug["status"]) == ("the red mug", "FOUND")
    assert (banana["found"], banana["box_xyxy"], banana["area_px"]) == (False, None, 0)
    assert "understood as 'pick: the red mug'" in capsys.readouterr().err
    assert main(["segment", str(FRAME), "turn left"]) == 1
    assert "names nothing to look for" in capsys.readouterr().err
