# SPDX-License-Identifier: Apache-2.0
"""The command line: help with examples and defaults, and arguments that were meant otherwise."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllmseg_ros import cli
from mllmseg_ros.cli import main


def verbs(
    parser: argparse.ArgumentParser | None = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every verb that does something, with its parser."""
    parser = parser or cli._parser()
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not below:
        yield path, parser
    for action in below:
        for name, each in action.choices.items():
            yield from verbs(each, (*path, name))


VERBS = dict(verbs())


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_the_help_has_examples_that_are_accepted(path: tuple[str, ...]) -> None:
    epilog = VERBS[path].epilog or ""
    title, *lines = epilog.splitlines()
    assert title == "examples:"
    assert any(line.split()[1 : 1 + len(path)] == list(path) for line in lines)
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "mllmseg"
        assert cli._parser().parse_args(arguments).run


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_the_help_shows_defaults(path: tuple[str, ...]) -> None:
    shown = " ".join(VERBS[path].format_help().split())
    for action in VERBS[path]._actions:
        default = action.default
        if action.option_strings and default not in (None, False, "", (), [], argparse.SUPPRESS):
            line = shown.partition("options:")[2].partition(f" {action.option_strings[-1]} ")[2]
            text = line.partition(" --")[0]
            assert "(default: " in text, text
            assert str(default) in text or "as published" in text


def test_expressions_may_stand_after_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    for verb in ("segment", "annotate", "label"):
        words = [verb, str(tmp_path), "-o", str(tmp_path / "out"), "the mug", "--model", missing]
        assert main(words) == 1
        assert "no image in it" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*words, "the bowl", "--modell", "x"])
        assert "unrecognized arguments: " in capsys.readouterr().err


@pytest.mark.parametrize("group", [[], ["data"], ["models"], ["sim"], ["train"]])
def test_a_group_of_verbs_alone_prints_its_help(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(group) == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: mllmseg", *group]))


@pytest.mark.parametrize(
    ("former", "verb"), [(["bag"], "annotate"), (["train", "start"], "train init")]
)
def test_former_verbs_do_the_same_and_name_the_new_one(
    former: list[str], verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "missing"), str(tmp_path / "out")]
    arguments += ["-e", "mug"] if verb == "annotate" else []
    assert main([*verb.split(), *arguments]) == 1
    expected = capsys.readouterr().err
    assert "missing" in expected
    assert main([*former, *arguments]) == 1
    warning, _, rest = capsys.readouterr().err.partition("\n")
    assert f"use 'mllmseg {verb}'" in warning
    assert rest == expected


@pytest.mark.parametrize(("path", "former"), [([], "bag"), (["train"], "start")])
def test_former_verbs_are_not_in_the_help(
    path: list[str], former: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*path, "--help"])
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert former not in listed
    assert ("init" if path else "annotate") in listed


@pytest.mark.parametrize("verb", ["segment", "annotate", "label", "ask"])
@pytest.mark.parametrize("words", ["the red mug", "the mug", "cup plate fork"])
def test_an_expression_without_quotes_is_stopped(
    verb: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [] if verb == "ask" else [str(tmp_path)]
    options = ["-o", str(tmp_path / "out")] if verb == "label" else []
    assert main([verb, *inputs, *words.split(), *options]) == 1
    advice = capsys.readouterr().err
    assert f'needs quotes: "{words}"' in advice
    assert " ".join(f"-e {word}" for word in words.split()) in advice


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["frame.png", "mug"], "if one of them is an expression and not a file: -e mug"),
        (["frame.png", "the mug", "mug"], "'mug' is a file or folder here"),
        (["frame.png", "the mug", "frame.png"], "files come before the expressions"),
        (["the mug", "frame.png"], "the mug: no such file or folder"),
        (["*.jpg", "the mug"], "*.jpg: no file matches"),
    ],
)
def test_a_name_of_a_file_is_not_taken_for_an_expression(
    words: list[str],
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mug").mkdir()
    (tmp_path / "frame.png").touch()
    assert main(["segment", *words]) == 1
    assert advice in capsys.readouterr().err


# Each would fail at the model too, but later.
OUTPUTS = [
    "segment frame.png mug -o {} --model none",
    "segment frame.png mug --json {} --model none",
    "explain frame.png mug -o {} --model none",
    "eval tabletop --worst {} --model none",
    "eval tabletop --json {} --model none",
    "eval set --reliability {} --model none",
    "benchmark --json {} --model none",
    "data check set -o {}",
]
FOLDERS = [
    "segment frame.png mug --masks {} --model none",
    "segment frame.png frame.png mug -o {} --model none",
    "annotate photos mug -o {} --model none",
    "label photos mug -o {} --model none",
    "adapt set {}",
    "train tabletop {}",
    "train init none {}",
    "sim render {} --scenes 1",
    "sim export {}",
    "models download none --to {}",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("frame.png", "photos/frame.png"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("line", OUTPUTS)
def test_an_output_is_checked_before_the_model_is_loaded(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools", reason="needs requirements/train.txt")
    assert main(line.format("missing/out.png").split()) == 1
    assert "missing/out.png: there is no folder missing; make it first" in capsys.readouterr().err
    assert main(line.format("photos").split()) == 1
    assert "photos is a folder; name a file in it" in capsys.readouterr().err
    if "--json" not in line:
        assert main(line.format("out.txt").split()) == 1
        assert "out.txt: not the name of an image" in capsys.readouterr().err


@pytest.mark.parametrize("line", FOLDERS)
def test_a_folder_is_checked_before_the_model_is_loaded(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("pycocotools", "rosbags", "av", "peft", "yaml"):
        pytest.importorskip(module, reason="needs requirements/train.txt and recordings.txt")
    assert main(line.format("frame.png").split()) == 1
    assert "frame.png is a file; name a folder" in capsys.readouterr().err
    if "segment" not in line:  # which makes its folders, and no folders above them
        assert main(line.format("frame.png/out").split()) == 1
        assert "frame.png is a file; name a folder" in capsys.readouterr().err
