# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of the tabletop: names of kinds, colours, sizes and places.

``{n}`` stands for a noun phrase, ``{x}`` for a whole expression. sim/plain_expressions.py and
sim/fluent_expressions.py make expressions with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Vocabulary", "get_vocabulary"]

KINDS = (
    "mug",
    "bowl",
    "bottle",
    "can",
    "box",
    "cube",
    "ball",
    "plate",
    "banana",
    "book",
    "duck",
)
MORE_KINDS = ("pan", "vase", "cone", "ring", "car", "bear", "spoon", "teapot", "hat")
TOOL_KINDS = ("hammer", "screwdriver", "flashlight")
VARIED_KINDS = KINDS + MORE_KINDS
ALL_KINDS = VARIED_KINDS + TOOL_KINDS
CLUTTER = "clutter"  # a thing without a name, in a colour without one
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
SIZES = ("small", "large")

Nouns = dict[str, tuple[tuple[str, str], ...]]  # singular and plural, the plain word first
Words = Mapping[str, tuple[str, ...]]  # what it means -> ways to say it, the plain one first


_NOUNS: Nouns = {
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
    "left": ("{n} on the left",),
    "right": ("{n} on the right",),
    "front": ("{n} in front",),
    "behind": ("{n} at the back",),
}
RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "front": ("in front of",),
    "behind": ("behind",),
    "beside": ("next to", "beside"),
}

# ---- more variety

MORE_NOUNS: Nouns = {
    "mug": (*_NOUNS["mug"], ("tea mug", "tea mugs")),
    "bowl": _NOUNS["bowl"],
    "bottle": (*_NOUNS["bottle"], ("wine bottle", "wine bottles")),
    "can": (*_NOUNS["can"], ("drink can", "drink cans")),
    "box": (*_NOUNS["box"], ("parcel", "parcels")),
    "cube": _NOUNS["cube"],
    "ball": (*_NOUNS["ball"], ("toy ball", "toy balls")),
    "plate": _NOUNS["plate"],
    "banana": _NOUNS["banana"],
    "book": (*_NOUNS["book"], ("notebook", "notebooks")),
    "duck": (*_NOUNS["duck"], ("toy duck", "toy ducks")),
    "pan": (("pan", "pans"), ("frying pan", "frying pans"), ("skillet", "skillets")),
    "vase": (("vase", "vases"), ("flower vase", "flower vases")),
    "cone": (("cone", "cones"), ("traffic cone", "traffic cones")),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "car": (("car", "cars"), ("toy car", "toy cars")),
    "bear": (("bear", "bears"), ("teddy bear", "teddy bears"), ("teddy", "teddies")),
    "spoon": (("spoon", "spoons"), ("ladle", "ladles")),
    "teapot": (("teapot", "teapots"), ("kettle", "kettles")),
    "hat": (("hat", "hats"), ("sun hat", "sun hats")),
}
_WORKSHOP_NOUNS: Nouns = {
    "hammer": (("hammer", "hammers"), ("mallet", "mallets")),
    "screwdriver": (("screwdriver", "screwdrivers"),),
    "flashlight": (("flashlight", "flashlights"), ("torch", "torches")),
    "mug": (("beaker", "beakers"),),
    "can": (("paint tin", "paint tins"), ("canister", "canisters")),
    "box": (("crate", "crates"),),
    "plate": (("lid", "lids"), ("disc", "discs")),
    "duck": (("mascot", "mascots"),),
}
REQUESTS = (
    "pick up {x}",
    "grab {x}",
    "take {x}",
    "find {x}",
    "show me {x}",
    "point at {x}",
    "look for {x}",
    "bring me {x}",
    "give me {x}",
    "go to {x}",
    "i need {x}",
    "please pick up {x}",
    "hand me {x}, please",
    "could you grab {x}?",
    "can you see {x}?",
    "where is {x}?",
)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Names of things, and how varied expressions are."""

    nouns: Nouns  # keys from ALL_KINDS or household.HOUSEHOLD_KINDS
    shares: dict[str, float]  # of the forms of expressions with a target; they sum to 1
    fluent: bool = False  # with negation, ordinals, counts, compound relations
    wide: bool = False  # with surfaces, categories and places too
    color_words: Words = field(default_factory=lambda: COLOR_WORDS)
    relations: Words = field(default_factory=lambda: RELATIONS)
    extremes: Words = field(default_factory=lambda: EXTREMES)
    of_two: Words = field(default_factory=lambda: OF_TWO)
    requests: tuple[str, ...] = REQUESTS

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have a name."""
        return tuple(self.nouns)


PLAIN = Vocabulary(
    nouns=_NOUNS,
    shares={
        "color": 0.10,
        "kind": 0.14,
        "color_kind": 0.20,
        "size_kind": 0.12,
        "extreme": 0.17,
        "relation": 0.14,
        "several": 0.13,
    },
)
VARIED = Vocabulary(
    nouns=MORE_NOUNS,
    shares={
        "color": 0.06,
        "kind": 0.09,
        "color_kind": 0.13,
        "size_kind": 0.09,
        "extreme": 0.11,
        "relation": 0.12,
        "several": 0.09,
        "negation": 0.06,
        "ordinal": 0.06,
        "count": 0.04,
        "compound": 0.11,
        "except": 0.04,
    },
    fluent=True,
)
# The names are new here, so that no expression has a colour alone.
WORKSHOP = Vocabulary(
    nouns=_WORKSHOP_NOUNS,
    shares={
        "kind": 0.35,
        "color_kind": 0.25,
        "size_kind": 0.10,
        "relation": 0.15,
        "several": 0.15,
    },
)

COLORED = ("{n} that is {c}", "{c} colored {n}", "{n} which is {c}")
ALL_COLORED = ("{n} that are {c}", "{c} colored {n}", "{n} which are {c}")
NOT_COLORED = ("{n} that is not {c}", "{n} that isn't {c}", "{n} which is not {c}", "non-{c} {n}")
ALL_NOT_COLORED = ("{n} that are not {c}", "{n} that aren't {c}", "non-{c} {n}")
NOT_A_KIND = ("{n} that is not a {k}", "{n} that isn't a {k}", "{n} other than the {k}")
ORDINALS = ("first", "second", "third", "fourth")
COUNTS = ("no", "one", "two", "three", "four", "five")
EXCEPT = ("except", "but", "except for", "other than")
SUPERLATIVES = {"small": ("smallest", "tiniest"), "large": ("largest", "biggest")}


def get_vocabulary(split: str) -> Vocabulary:
    """Get the vocabulary of a split (see random_scenes.SPLITS)."""
    if split == "workshop":
        return WORKSHOP
    if split.startswith("wide"):
        from mllmseg_ros.language.household import HOUSEHOLD  # it is made of this module's words

        return HOUSEHOLD
    return VARIED if split.startswith("varied") else PLAIN
