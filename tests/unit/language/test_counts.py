# SPDX-License-Identifier: Apache-2.0
"""How many things an expression asks for."""

from __future__ import annotations

import pytest

from mllmseg_ros.language.counts import asks_for_one, count_asked


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("two mugs", 2),
        ("the two red mugs on the left", 2),
        ("two of the mugs", 2),
        ("one of the mugs", 1),
        ("one mug", 1),
        ("both mugs", 2),
        ("a couple of mugs", 2),
        ("half a dozen eggs", 6),
        ("twenty mugs", 20),
        ("100 mugs", 100),
        ("another two mugs", 2),
        ("two mug", 2),
        ("the mugs", None),
        ("the mug", None),
        ("the ten millimeter socket", None),
        ("the mug number two", None),
        ("the second mug", None),
        ("a pair of gloves", None),
        ("two", None),
        ("everything", None),
    ],
)
def test_a_number_of_things(expression: str, count: int | None) -> None:
    assert count_asked(expression) == count


@pytest.mark.parametrize(
    ("expression", "is_one"),
    [
        ("the mug", True),
        ("the red mug on the left", True),
        ("a mug", True),
        ("one mug", True),
        ("red mug", True),
        ("the glass", True),
        ("the mugs", False),
        ("two mugs", False),
        ("my scissors", False),
        ("all mugs", False),
        ("anything red", False),
        ("", False),
    ],
)
def test_one_thing(expression: str, is_one: bool) -> None:
    assert asks_for_one(expression) == is_one
