# SPDX-License-Identifier: Apache-2.0
"""English nouns and adjectives: which are alike, and which are places.

The table of sentences (english.py) and follow-ups (reference.py) are made of them.
"""

from __future__ import annotations

from mllmseg_ros.language import vocabulary
from mllmseg_ros.language.language import word_set

__all__ = ["ADJECTIVE_CLASSES", "NOUNS", "OTHER_ACTIONS", "PLACES", "PLURALS", "SINGULARS"]

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
# Verbs of requests that need more than to see, to take or to go, as people give them to robots.
OTHER_ACTIONS = word_set(
    "open close shut lock unlock press click tap hit knock ring switch turn rotate spin twist tilt "
    "flip shake stir mix pour fill fold unfold roll bend break crack smash cut slice chop peel "
    "squeeze grate wash rinse scrub wipe clean dry dust mop sweep vacuum polish tidy iron sort "
    "arrange rearrange organize organise order align count swap exchange replace switch connect "
    "disconnect attach detach assemble disassemble build make create construct craft repair fix "
    "mend glue tie untie wrap unwrap pack unpack screw unscrew tighten loosen drill hammer "
    "nail saw paint draw write sign type read play record film photograph scan print copy email "
    "text call phone dial answer ask tell say speak talk shout whisper sing dance laugh smile cry "
    "cook bake fry boil heat warm cool freeze melt eat drink taste smell bite chew feed water "
    "plant dig mow light burn blow touch feel stroke pet rub scratch tickle kick punch slap "
    "dribble juggle kill destroy bury hide steal buy sell pay order rent book reserve guard "
    "protect defend fight attack chase race jump climb crawl swim sit sleep wake rest relax lie "
    "kneel wave nod bow clap applaud greet thank hug kiss help teach learn study remember forget "
    "think know understand believe guess imagine dream explain translate spell calculate compute "
    "add subtract multiply divide measure weigh compare check test try use wear undress dress "
    "charge plug unplug start begin finish end continue repeat undo activate deactivate enable "
    "disable install uninstall update upgrade reset restart configure program schedule "
    "remind wait hurry work do be become act behave hear listen like love hate want prefer "
    "choose decide promise marry invite visit join meet share keep save protect store "
    "pull press push drag crush stretch inflate deflate pump spray sprinkle toast serve "
    "park steer drive fly sail ride"
)

# Where things are put; what else the tabletop has is rather put there.
PLACES = word_set(
    "bowl box plate carton package tray basket bin table desk shelf drawer chair pan vase bucket "
    "container pot jar bag crate dish skillet hat sofa bed lid room kitchen office ward hall bay "
    "dock station bench rack counter fridge oven sink cart cupboard cabinet pallet bucket door "
    "window"
)
