# SPDX-License-Identifier: Apache-2.0
"""The command line: former names of verbs still work, with a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from mllmseg_ros.cli import main


@pytest.mark.parametrize(
    ("former", "verb"), [(["bag"], "annotate"), (["train", "start"], "train init")]
)
def test_former_verbs_do_the_same_and_name_the_new_one(
    former: list[str], verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "missing"), str(tmp_path / "out")]
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
    verbs = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert former not in verbs
    assert ("init" if path else "annotate") in verbs
