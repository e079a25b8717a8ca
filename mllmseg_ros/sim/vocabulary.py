# SPDX-License-Identifier: Apache-2.0
"""The words of the tabletop: what its kinds, colours, sizes and places are called.

``{n}`` stands for a noun phrase. Knows no pictures and no truth: expressions.py uses the words.
"""

from __future__ import annotations

# Singular and plural, the plain word first.
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "mug": (("mug", "mugs"), ("cup", "cups"), ("coffee mug", "coffee mugs")),
    "bowl": (("bowl", "bowls"), ("soup bowl", "soup bowls")),
    "bottle": (("bottle", "bottles"), ("flask", "flasks")),
    "can": (("can", "cans"), ("tin", "tins"), ("soda can", "soda cans")),
    "box": (("box", "boxes"), ("carton", "cartons"), ("package", "packages")),
    "cube": (("cube", "cubes"), ("block", "blocks")),
    "ball": (("ball", "balls"), ("sphere", "spheres")),
    "plate": (("plate", "plates"), ("dish", "dishes")),
    "banana": (("banana", "bananas"),),
    "book": (("book", "books"),),
    "duck": (("duck", "ducks"), ("rubber duck", "rubber ducks")),
}
ANY = (("object", "objects"), ("thing", "things"), ("item", "items"))
COLOR_WORDS = {"purple": ("purple", "violet")}
SIZE_WORDS = {"small": ("small", "little", "smaller"), "large": ("large", "big", "bigger")}
EXTREMES = {
    "left": ("leftmost {n}", "{n} on the far left", "{n} furthest to the left"),
    "right": ("rightmost {n}", "{n} on the far right", "{n} furthest to the right"),
    "front": ("{n} closest to the camera", "nearest {n}", "closest {n}", "{n} at the very front"),
    "behind": ("{n} farthest from the camera", "farthest {n}", "{n} at the very back"),
}
OF_TWO = {
    "left": "{n} on the left",
    "right": "{n} on the right",
    "front": "{n} in front",
    "behind": "{n} at the back",
}
RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "front": ("in front of",),
    "behind": ("behind",),
    "beside": ("next to", "beside"),
}
