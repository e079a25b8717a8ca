# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of household tables: more kinds, colours, surfaces and ways to ask.

``{n}`` stands for a noun phrase, ``{x}`` for a whole expression, ``{c}`` and ``{a}`` for colours.
sim/wide_expressions.py makes expressions with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.language.vocabulary import COLORS, MORE_NOUNS, Nouns, Vocabulary

__all__ = ["HOUSEHOLD", "HOUSEHOLD_COLORS", "HOUSEHOLD_KINDS"]

HOUSEHOLD_COLORS = (*COLORS, "brown", "gray", "beige", "turquoise", "silver", "gold")
# Colours that people do not tell apart reliably; a scene has at most one of each pair.
CONFUSABLE = frozenset(
    frozenset(pair)
    for pair in (
        ("white", "beige"),
        ("white", "silver"),
        ("gray", "silver"),
        ("gray", "white"),
        ("gray", "black"),
        ("brown", "orange"),
        ("brown", "beige"),
        ("brown", "black"),
        ("brown", "gold"),
        ("brown", "red"),
        ("gold", "yellow"),
        ("gold", "beige"),
        ("gold", "orange"),
        ("turquoise", "blue"),
        ("turquoise", "green"),
    )
)

_MORE: Nouns = {
    "mug": (("coffee cup", "coffee cups"), ("tea cup", "tea cups")),
    "bowl": (("cereal bowl", "cereal bowls"), ("salad bowl", "salad bowls")),
    "bottle": (("water bottle", "water bottles"), ("beer bottle", "beer bottles")),
    "can": (("tin can", "tin cans"), ("soup can", "soup cans"), ("beer can", "beer cans")),
    "box": (("cardboard box", "cardboard boxes"), ("packet", "packets")),
    "cube": (("toy block", "toy blocks"), ("die", "dice"), ("brick", "bricks")),
    "ball": (("rubber ball", "rubber balls"),),
    "plate": (("dinner plate", "dinner plates"), ("saucer", "saucers")),
    "book": (("novel", "novels"), ("textbook", "textbooks")),
    "duck": (("ducky", "duckies"), ("duckling", "ducklings")),
    "pan": (("saucepan", "saucepans"),),
    "cone": (("pylon", "pylons"),),
    "car": (("toy vehicle", "toy vehicles"), ("automobile", "automobiles")),
    "bear": (("stuffed bear", "stuffed bears"), ("plush bear", "plush bears")),
    "spoon": (("tablespoon", "tablespoons"), ("teaspoon", "teaspoons")),
    "teapot": (("tea kettle", "tea kettles"), ("tea pot", "tea pots")),
    "hat": (("cap", "caps"),),
    "jar": (("jar", "jars"), ("jam jar", "jam jars"), ("preserving jar", "preserving jars")),
    "glass": (("glass", "glasses"), ("wine glass", "wine glasses"), ("goblet", "goblets")),
    "jug": (("jug", "jugs"), ("pitcher", "pitchers"), ("water jug", "water jugs")),
    "pot": (("pot", "pots"), ("cooking pot", "cooking pots"), ("stew pot", "stew pots")),
    "basket": (("basket", "baskets"), ("wicker basket", "wicker baskets")),
    "tray": (("tray", "trays"), ("serving tray", "serving trays")),
    "plant": (("plant", "plants"), ("house plant", "house plants"), ("potted plant",) * 2),
    "apple": (("apple", "apples"),),
    "tomato": (("tomato", "tomatoes"),),
    "citrus": (("orange", "oranges"), ("mandarin", "mandarins"), ("tangerine", "tangerines")),
    "lemon": (("lemon", "lemons"),),
    "pear": (("pear", "pears"),),
    "carrot": (("carrot", "carrots"),),
    "egg": (("egg", "eggs"),),
    "mushroom": (("mushroom", "mushrooms"),),
    "bread": (("bread", "breads"), ("loaf", "loaves"), ("loaf of bread", "loaves of bread")),
    "knife": (("knife", "knives"), ("table knife", "table knives")),
    "fork": (("fork", "forks"),),
    "pen": (("pen", "pens"), ("pencil", "pencils"), ("ballpoint pen", "ballpoint pens")),
    "remote": (("remote", "remotes"), ("remote control", "remote controls")),
    "phone": (("phone", "phones"), ("cell phone", "cell phones"), ("smartphone", "smartphones")),
    "clock": (("clock", "clocks"), ("alarm clock", "alarm clocks")),
    "candle": (("candle", "candles"),),
    "lamp": (("lamp", "lamps"), ("table lamp", "table lamps"), ("desk lamp", "desk lamps")),
    "shaker": (("salt shaker", "salt shakers"), ("shaker", "shakers"), ("pepper pot",) * 2),
    "bell": (("bell", "bells"), ("hand bell", "hand bells")),
}
_NOUNS: Nouns = {
    kind: (*MORE_NOUNS.get(kind, ()), *_MORE.get(kind, ())) for kind in {**MORE_NOUNS, **_MORE}
}
HOUSEHOLD_KINDS = tuple(_NOUNS)

# Colours that a kind usually has.
NATURAL_COLORS = {
    "banana": ("yellow", "yellow", "yellow", "green"),
    "apple": ("red", "red", "green", "yellow"),
    "tomato": ("red",),
    "citrus": ("orange",),
    "lemon": ("yellow",),
    "pear": ("green", "yellow"),
    "carrot": ("orange",),
    "egg": ("white", "beige", "brown"),
    "mushroom": ("white", "brown", "beige"),
    "bread": ("brown",),
    "knife": ("silver", "black", "brown"),
    "fork": ("silver", "silver", "gray"),
    "spoon": ("silver", "silver", "gray", "brown"),
    "pan": ("black", "gray", "silver"),
    "pot": ("silver", "black", "red"),
    "plant": ("green",),
    "phone": ("black", "white", "gray"),
    "remote": ("black", "gray", "white"),
    "basket": ("brown", "beige"),
    "bear": ("brown", "white", "beige"),
    "duck": ("yellow",),
    "cone": ("orange",),
    "bottle": ("green", "brown", "black", "white", "blue"),
    "plate": ("white", "white", "gray", "beige"),
    "bowl": ("white", "gray", "beige"),
    "mug": ("white", "black", "gray", "brown"),
    "book": ("gray", "brown", "black", "white"),
    "box": ("brown", "beige", "white", "gray"),
}
# These have hardly any other.
ALWAYS_NATURAL = frozenset(
    {"apple", "tomato", "citrus", "lemon", "pear", "carrot", "egg", "mushroom", "bread", "plant"}
)

# Kinds of one shape, none of which is called by the name of another.
LOOK_ALIKES = (
    ("bowl", "plate", "pan", "tray", "basket", "hat"),
    ("bowl", "pot", "basket", "hat", "mug"),
    ("mug", "can", "jar", "candle", "shaker"),
    ("glass", "vase", "candle", "bell"),
    ("bottle", "vase", "lamp", "shaker"),
    ("teapot", "mug", "pot", "jug"),
    ("book", "box", "tray", "phone"),
    ("box", "remote", "bread", "clock"),
    ("cube", "book", "clock"),
    ("apple", "tomato", "citrus", "duck"),
    ("ball", "bear", "duck"),
    ("lemon", "egg", "pear", "mushroom"),
    ("banana", "carrot", "pear", "lemon"),
    ("spoon", "fork", "knife", "pen"),
    ("cone", "hat", "bell", "lamp"),
    ("ring", "plate"),
    ("car", "duck", "remote"),
    ("plant", "hat", "bear"),
)


@dataclass(frozen=True, kw_only=True)
class Category:
    """A group of kinds that people name by what they are for."""

    singular: tuple[str, ...]
    plural: tuple[str, ...]  # empty where only one is asked for
    kinds: frozenset[str]
    debatable: frozenset[str] = frozenset()  # kinds of which people might disagree


CATEGORIES = (
    Category(
        singular=("fruit", "piece of fruit"),
        plural=("fruit", "fruits", "pieces of fruit"),
        kinds=frozenset({"apple", "citrus", "lemon", "pear", "banana"}),
        debatable=frozenset({"tomato"}),
    ),
    Category(
        singular=("vegetable",),
        plural=("vegetables",),
        kinds=frozenset({"carrot", "mushroom"}),
        debatable=frozenset({"tomato", "apple"}),
    ),
    Category(
        singular=("something to eat", "food", "thing that can be eaten", "something edible"),
        plural=("food", "things to eat", "edible things"),
        kinds=frozenset(
            {
                "apple",
                "citrus",
                "lemon",
                "pear",
                "banana",
                "carrot",
                "tomato",
                "mushroom",
                "bread",
                "egg",
            }
        ),
        debatable=frozenset({"can", "jar", "box", "plant"}),
    ),
    Category(
        singular=("toy", "plaything", "something for children"),
        plural=("toys", "things to play with"),
        kinds=frozenset({"duck", "bear", "car"}),
        debatable=frozenset({"ball", "cube", "ring", "cone", "bell", "hat"}),
    ),
    Category(
        singular=("animal", "stuffed animal", "toy animal"),
        plural=("animals", "toy animals"),
        kinds=frozenset({"duck", "bear"}),
    ),
    Category(
        singular=("piece of cutlery", "piece of silverware", "eating utensil"),
        plural=("cutlery", "silverware", "eating utensils"),
        kinds=frozenset({"knife", "fork", "spoon"}),
    ),
    Category(
        singular=("something to drink from", "thing to drink out of", "drinking vessel"),
        plural=("things to drink from", "drinking vessels"),
        kinds=frozenset({"mug", "glass"}),
        debatable=frozenset({"bottle", "can", "bowl", "jug", "jar"}),
    ),
    Category(
        singular=("something to pour from", "thing that pours"),
        plural=(),
        kinds=frozenset({"teapot", "jug"}),
        debatable=frozenset({"bottle", "can", "glass", "mug", "pot"}),
    ),
    Category(
        singular=("something to read", "reading matter"),
        plural=(),
        kinds=frozenset({"book"}),
        debatable=frozenset({"phone"}),
    ),
    Category(
        singular=("something to cut with", "thing with a blade"),
        plural=(),
        kinds=frozenset({"knife"}),
        debatable=frozenset({"fork"}),
    ),
    Category(
        singular=("something to write with", "writing tool"),
        plural=("writing tools",),
        kinds=frozenset({"pen"}),
    ),
    Category(
        singular=("something to wear", "piece of clothing", "thing for the head"),
        plural=(),
        kinds=frozenset({"hat"}),
        debatable=frozenset({"ring"}),
    ),
    Category(
        singular=("something that gives light", "source of light"),
        plural=("things that give light",),
        kinds=frozenset({"lamp", "candle"}),
        debatable=frozenset({"phone"}),
    ),
    Category(
        singular=("something to make a call with", "device for calling"),
        plural=(),
        kinds=frozenset({"phone"}),
    ),
    Category(
        singular=("something to fry with", "something for frying eggs"),
        plural=(),
        kinds=frozenset({"pan"}),
        debatable=frozenset({"pot"}),
    ),
    Category(
        singular=("something for flowers", "thing to put flowers in"),
        plural=(),
        kinds=frozenset({"vase"}),
        debatable=frozenset(
            {"jug", "bottle", "jar", "glass", "pot", "plant", "mug", "bowl", "basket", "can"}
        ),
    ),
    Category(
        singular=("something that tells the time", "timepiece"),
        plural=(),
        kinds=frozenset({"clock"}),
        debatable=frozenset({"phone"}),
    ),
    Category(
        singular=("vehicle", "thing with wheels", "something that drives"),
        plural=("vehicles", "things with wheels"),
        kinds=frozenset({"car"}),
    ),
    Category(
        singular=("something to bounce", "thing to throw"),
        plural=(),
        kinds=frozenset({"ball"}),
        debatable=frozenset({"apple", "citrus", "ring", "cube", "duck", "egg", "tomato", "lemon"}),
    ),
)

# Surfaces: before and after the noun; {a} is the second colour.
DECOR_WORDS = {
    "banded": ("striped {n}", "{n} with stripes", "{n} with {a} stripes", "{n} with {a} bands"),
    "striped": ("striped {n}", "{n} with stripes", "{n} with {a} stripes", "stripy {n}"),
    "checkered": ("checkered {n}", "checked {n}", "{n} with {a} checks", "{n} with squares on it"),
    "dotted": ("dotted {n}", "spotted {n}", "{n} with dots", "{n} with {a} dots", "{n} with spots"),
    "flowered": ("flowered {n}", "flowery {n}", "{n} with {a} flowers", "{n} with flowers on it"),
    "labelled": ("{n} with a label", "{n} with the {a} label", "{n} with writing on it"),
    "printed": ("printed {n}", "{n} with a print", "{n} with a {a} print", "{n} with a logo"),
    "wood": ("wooden {n}", "{n} made of wood"),
    "marble": ("marble {n}", "{n} made of marble", "{n} of stone"),
    "speckle": ("speckled {n}", "{n} with {a} specks"),
}
# Decors that one might take for each other.
SIMILAR_DECORS = (
    frozenset({"banded", "striped", "checkered", "wood"}),
    frozenset({"dotted", "flowered", "speckle", "printed", "marble"}),
    frozenset({"labelled", "printed", "flowered", "checkered"}),
)
LIDS = {"jar": "lid"}  # kind -> its part in the second colour
LID_WORDS = ("{n} with the {a} {p}", "{n} with a {a} {p}", "{n} that has a {a} {p}")

# Kinds of things that no scene has: they are never there.
_ABSENT = """\
airplane, anchor, axe, backpack, balloon, bandage, banknote, battery, bed, belt, bicycle, bird,
blanket, blender, boat, bone, boot, broccoli, broom, brush, bucket, bulb, burger, bus, butter,
butterfly, cabbage, cable, cactus, cake, calendar, camera, carpet, cat, chain, chair, chalk,
charger, cheese, cherry, coconut, coin, comb, computer, cookie, corkscrew, corn, cow, crown,
cucumber, curtain, cutting board, dinosaur, dog, doll, donut, door, dragon, drawer, drill, drum,
easel, elephant, envelope, eraser, fan, feather, fish, flute, fridge, frog, funnel, garlic,
globe, glove, grapes, grater, guitar, hairbrush, handbag, headphones, heater, helicopter,
helmet, horse, hourglass, iron, jacket, key, keyboard, kite, kiwi, ladder, laptop, leaf, lion,
magazine, magnet, mango, map, medal, melon, microphone, microscope, microwave, mirror, monkey,
mop, motorbike, mouse, nail, napkin, necklace, newspaper, nut, onion, oven, owl, padlock, paint,
passport, pasta, peach, pepper, piano, pig, pill, pillow, pineapple, pizza, playing card,
pliers, plug, plum, potato, pumpkin, puppet, purse, puzzle, rabbit, racket, radio, razor, rice,
robot, rocket, rope, rose, ruler, salad, sandal, sandwich, sausage, saw, scarf, scissors, screw,
shark, sheep, shelf, shell, shirt, shoe, skateboard, skis, skull, snake, soap, sock, sofa,
speaker, spider, sponge, stamp, stapler, statue, stone, stool, straw, strawberry, suitcase,
sunglasses, syringe, telescope, television, thermometer, ticket, tiger, tire, toaster,
toothbrush, towel, train, tree, trophy, trousers, truck, trumpet, tulip, turtle, umbrella,
vacuum cleaner, violin, wallet, watch, wheel, whisk, window, wrench"""
ABSENT_NOUNS = tuple(re.split(r",\s+", _ABSENT))

RELATIONS = {
    "left": (
        "left of",
        "to the left of",
        "on the left of",
        "on the left side of",
        "standing left of",
    ),
    "right": (
        "right of",
        "to the right of",
        "on the right of",
        "on the right side of",
        "standing right of",
    ),
    "front": (
        "in front of",
        "that stands in front of",
        "closer to me than",
        "before",
        "nearer than",
    ),
    "behind": (
        "behind",
        "at the back of",
        "further away than",
        "that is behind",
        "standing behind",
    ),
    "beside": ("next to", "beside", "near", "by", "close to", "alongside", "right by"),
}
EXTREMES = {
    "left": (
        "leftmost {n}",
        "{n} on the far left",
        "{n} furthest to the left",
        "{n} farthest left",
        "left-most {n}",
        "outermost {n} on the left",
        "{n} at the left end",
    ),
    "right": (
        "rightmost {n}",
        "{n} on the far right",
        "{n} furthest to the right",
        "{n} farthest right",
        "right-most {n}",
        "outermost {n} on the right",
        "{n} at the right end",
    ),
    "front": (
        "{n} closest to the camera",
        "nearest {n}",
        "closest {n}",
        "{n} at the very front",
        "front-most {n}",
        "{n} nearest to me",
        "{n} that is closest to us",
    ),
    "behind": (
        "{n} farthest from the camera",
        "farthest {n}",
        "{n} at the very back",
        "rearmost {n}",
        "most distant {n}",
        "{n} furthest away",
        "{n} in the very back",
    ),
}
OF_TWO = {
    "left": ("{n} on the left", "left {n}", "{n} to the left", "{n} further left", "left-hand {n}"),
    "right": ("{n} on the right", "right {n}", "{n} to the right", "{n} further right"),
    "front": ("{n} in front", "front {n}", "nearer {n}", "closer {n}"),
    "behind": ("{n} at the back", "rear {n}", "back {n}", "farther {n}"),
}
PLACES = {
    "middle": (
        "{n} in the middle",
        "{n} in the center",
        "{n} in the centre of the image",
        "central {n}",
        "middle {n}",
    ),
    "top left": ("{n} in the top left", "top left {n}", "{n} in the upper left corner"),
    "top right": ("{n} in the top right", "top right {n}", "{n} in the upper right corner"),
    "bottom left": ("{n} in the bottom left", "bottom left {n}", "{n} in the lower left corner"),
    "bottom right": (
        "{n} in the bottom right",
        "bottom right {n}",
        "{n} in the lower right corner",
    ),
}
ARTICLES = ("", "", "a ", "that ", "my ", "this ", "one ", "any ", "some ")
REQUESTS = (
    "pick up {x}",
    "grab {x}",
    "take {x}",
    "find {x}",
    "show me {x}",
    "point at {x}",
    "point to {x}",
    "look for {x}",
    "bring me {x}",
    "give me {x}",
    "go to {x}",
    "i need {x}",
    "i want {x}",
    "i would like {x}",
    "please pick up {x}",
    "please give me {x}",
    "hand me {x}, please",
    "pass me {x}",
    "could you grab {x}?",
    "could you please hand me {x}?",
    "can you see {x}?",
    "can you get {x} for me?",
    "can i have {x}?",
    "would you bring {x}?",
    "where is {x}?",
    "where did i put {x}?",
    "is there {x}?",
    "do you see {x}?",
    "get {x}",
    "fetch {x}",
    "lift {x}",
    "move {x}",
    "push {x}",
    "touch {x}",
    "clear away {x}",
    "select {x}",
    "segment {x}",
    "highlight {x}",
    "mark {x}",
    "what about {x}?",
    "now {x}",
    "{x} please",
    "{x}, please",
    "{x} now",
    "robot, take {x}",
    "hey, get me {x}",
    "let me have {x}",
    "i am looking for {x}",
    "put {x} away",
    "remove {x}",
    "locate {x}",
)

HOUSEHOLD = Vocabulary(
    nouns=_NOUNS,
    shares={  # most people name a thing, or a thing and its colour
        "kind": 0.25,
        "color_kind": 0.25,
        "color": 0.03,
        "size_kind": 0.04,
        "extreme": 0.06,
        "relation": 0.06,
        "several": 0.045,
        "negation": 0.03,
        "ordinal": 0.03,
        "count": 0.02,
        "compound": 0.05,
        "except": 0.02,
        "attribute": 0.045,
        "category": 0.035,
        "place": 0.035,
    },
    fluent=True,
    wide=True,
    relations=RELATIONS,
    extremes=EXTREMES,
    of_two=OF_TWO,
    requests=REQUESTS,
    color_words={
        "purple": ("purple", "violet"),
        "gray": ("gray", "grey"),
        "turquoise": ("turquoise", "teal"),
        "silver": ("silver", "metal", "steel", "shiny"),
        "beige": ("beige", "cream"),
        "gold": ("gold", "golden"),
    },
)
