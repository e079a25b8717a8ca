# SPDX-License-Identifier: Apache-2.0
"""English nouns and adjectives: which are alike, and which are places.

The table of sentences (english.py) and follow-ups (reference.py) are made of them.
"""

from __future__ import annotations

from mllmseg_ros.language import vocabulary
from mllmseg_ros.language.language import word_set

__all__ = ["ADJECTIVE_CLASSES", "NOUNS", "PLACES", "PLURALS", "SINGULARS"]

# Things that people name beside the tabletop's: singular and plural.
_MORE_NOUNS = (
    *("apple apples", "orange oranges", "pear pears", "lemon lemons", "tomato tomatoes"),
    *("glass glasses", "jar jars", "pot pots", "tray trays", "basket baskets", "bin bins"),
    *("knife knives", "fork forks", "napkin napkins", "towel towels", "sponge sponges"),
    *("table tables", "desk desks", "shelf shelves", "drawer drawers", "chair chairs"),
    *("door doors", "window windows", "sofa sofas", "bed beds", "lamp lamps", "plant plants"),
    *("key keys", "phone phones", "remote remotes", "pen pens", "pencil pencils", "bag bags"),
    *("wrench wrenches", "spanner spanners", "screw screws", "tool tools", "toy toys"),
    *("person people", "man men", "woman women", "dog dogs", "cat cats", "shoe shoes"),
    *("bucket buckets", "container containers", "tape tapes", "scissors scissors"),
    *("room rooms", "kitchen kitchens", "office offices", "ward wards", "hall halls"),
    *("bay bays", "dock docks", "station stations", "bench benches", "rack racks"),
    *("counter counters", "fridge fridges", "oven ovens", "sink sinks", "cart carts"),
    *("cupboard cupboards", "cabinet cabinets", "pallet pallets", "bottle bottles"),
)
_TABLETOP = [
    forms
    for nouns in (vocabulary.VARIED.nouns, vocabulary.WORKSHOP.nouns)
    for names in nouns.values()
    for forms in (*names, *vocabulary.ANY)
]
_PAIRS = [(one.split(), many.split()) for one, many in _TABLETOP]
_PAIRS += [([one], [many]) for one, many in map(str.split, _MORE_NOUNS)]
PLURALS = {one[-1]: many[-1] for one, many in _PAIRS}
SINGULARS = {many: one for one, many in PLURALS.items()}
_FIRST_PARTS = {part for one, _ in _PAIRS for part in one[:-1]}
NOUNS = frozenset(PLURALS) | frozenset(SINGULARS) | frozenset(_FIRST_PARTS)

# Of one class an expression has one at a time: "no, the blue one" takes the place of "red".
ADJECTIVE_CLASSES = {
    "color": frozenset(vocabulary.COLORS)
    | {"violet", "brown", "grey", "gray", "silver", "gold", "golden", "beige", "turquoise"},
    "shade": word_set("light lighter lightest dark darker darkest bright"),
    "size": word_set(
        "small smaller smallest little tiny tiniest large larger largest big bigger biggest "
        "huge short shorter shortest tall taller tallest long longer longest thin thick "
        "wide wider narrow medium giant mini"
    ),
    "side": word_set(
        "left right leftmost rightmost middle center centre central front back rear far near "
        "nearest nearer closest closer farthest furthest top bottom upper lower other"
    ),
    "order": word_set("first second third fourth fifth sixth last next"),
    "stuff": word_set("wooden plastic metal paper rubber leather glass steel ceramic cardboard"),
    "state": word_set("empty full open closed clean dirty new old broken hot cold"),
}
# Where things are put; what else the tabletop has is rather put there.
PLACES = word_set(
    "bowl box plate carton package tray basket bin table desk shelf drawer chair pan vase bucket "
    "container pot jar bag crate dish skillet hat sofa bed lid room kitchen office ward hall bay "
    "dock station bench rack counter fridge oven sink cart cupboard cabinet pallet bucket door "
    "window"
)
