# SPDX-License-Identifier: Apache-2.0
"""German for the tabletop: commands and, by a glossary, their expressions in English.

A table, see language.py for what each entry means.
"""

from __future__ import annotations

from mllmseg_ros.language.german_uncovered import UNCOVERED
from mllmseg_ros.language.language import (
    Asides,
    Destination,
    Glossary,
    Language,
    fold,
    word_map,
    word_set,
)

__all__ = ["GERMAN"]

# German singular and plural: English singular and plural.
_NOUNS = {
    "Tasse Tassen": ("mug", "mugs"),
    "Becher Becher": ("mug", "mugs"),
    "Schüssel Schüsseln": ("bowl", "bowls"),
    "Schale Schalen": ("bowl", "bowls"),
    "Flasche Flaschen": ("bottle", "bottles"),
    "Dose Dosen": ("can", "cans"),
    "Büchse Büchsen": ("can", "cans"),
    "Kanister Kanister": ("canister", "canisters"),
    "Kiste Kisten": ("box", "boxes"),
    "Schachtel Schachteln": ("box", "boxes"),
    "Karton Kartons": ("carton", "cartons"),
    "Box Boxen": ("box", "boxes"),
    "Paket Pakete": ("package", "packages"),
    "Päckchen Päckchen": ("package", "packages"),
    "Würfel Würfel": ("cube", "cubes"),
    "Klotz Klötze": ("block", "blocks"),
    "Block Blöcke": ("block", "blocks"),
    "Ball Bälle": ("ball", "balls"),
    "Kugel Kugeln": ("ball", "balls"),
    "Teller Teller": ("plate", "plates"),
    "Deckel Deckel": ("lid", "lids"),
    "Scheibe Scheiben": ("disc", "discs"),
    "Banane Bananen": ("banana", "bananas"),
    "Apfel Äpfel": ("apple", "apples"),
    "Buch Bücher": ("book", "books"),
    "Heft Hefte": ("notebook", "notebooks"),
    "Ente Enten": ("duck", "ducks"),
    "Quietscheente Quietscheenten": ("rubber duck", "rubber ducks"),
    "Pfanne Pfannen": ("pan", "pans"),
    "Vase Vasen": ("vase", "vases"),
    "Kegel Kegel": ("cone", "cones"),
    "Hütchen Hütchen": ("cone", "cones"),
    "Ring Ringe": ("ring", "rings"),
    "Reifen Reifen": ("hoop", "hoops"),
    "Auto Autos": ("car", "cars"),
    "Wagen Wagen": ("car", "cars"),
    "Bär Bären Bären": ("bear", "bears"),
    "Teddy Teddys": ("teddy bear", "teddy bears"),
    "Löffel Löffel": ("spoon", "spoons"),
    "Kelle Kellen": ("ladle", "ladles"),
    "Teekanne Teekannen": ("teapot", "teapots"),
    "Kanne Kannen": ("teapot", "teapots"),
    "Kessel Kessel": ("kettle", "kettles"),
    "Hut Hüte": ("hat", "hats"),
    "Hammer Hämmer": ("hammer", "hammers"),
    "Schraubenzieher Schraubenzieher": ("screwdriver", "screwdrivers"),
    "Schraubendreher Schraubendreher": ("screwdriver", "screwdrivers"),
    "Taschenlampe Taschenlampen": ("flashlight", "flashlights"),
    "Ding Dinge": ("thing", "things"),
    "Gegenstand Gegenstände": ("object", "objects"),
    "Sache Sachen": ("thing", "things"),
    "Tisch Tische": ("table", "tables"),
    "Tür Türen": ("door", "doors"),
    "Regal Regale": ("shelf", "shelves"),
    "Stuhl Stühle": ("chair", "chairs"),
    "Korb Körbe": ("basket", "baskets"),
    "Tablett Tabletts": ("tray", "trays"),
    "Schlüssel Schlüssel": ("key", "keys"),
    "Fenster Fenster": ("window", "windows"),
    "Griff Griffe": ("handle", "handles"),
    "Henkel Henkel": ("handle", "handles"),
    "Kamera Kameras": ("camera", "cameras"),
    "Küche Küchen": ("kitchen", "kitchens"),
}
# First parts of compounds; an empty one adds nothing that can be seen.
_PARTS = word_map(
    "Kaffee: coffee, Tee: tea, Suppen: soup, Bade: rubber, Gummi: rubber, "
    "Plastik: plastic, Holz: wooden, Metall: metal, Papp: cardboard, "
    "Spielzeug: toy, Spiel: toy, Wein: wine, Wasser: water, Blumen: flower, "
    "Brat: frying, Teddy: teddy, Limo: soda, Limonaden: soda, Cola: soda, "
    "Getränke: drink, Farb: paint, Sonnen: sun, Verkehrs: traffic, "
    "Obst: fruit, Müsli: cereal, Salat: salad, Küchen: kitchen, Holzspiel: toy, "
    "Noten: note, Bau: , Trink: , Porzellan: , Kunststoff: plastic, "
    "Milch: milk, Kekse: biscuit, Keks: biscuit, Haus: house, Glas: glass"
)
_ADJECTIVES = word_map(
    "rot: red, orange: orange, orangefarben: orange, gelb: yellow, "
    "grün: green, blau: blue, lila: purple, violett: purple, pink: pink, "
    "rosa: pink, rosafarben: pink, lilafarben: purple, weiß: white, "
    "schwarz: black, braun: brown, grau: grey, bunt: colorful, "
    "klein: small, kleiner: smaller, kleinst: smallest, winzig: tiny, "
    "groß: large, größer: bigger, größt: biggest, riesig: huge, "
    "lang: long, länger: longer, längst: longest, kurz: short, kürzer: shorter, "
    "hoh: tall, hoch: tall, höher: taller, höchst: tallest, niedrig: low, "
    "link: left, recht: right, mittler: middle, vorder: front, hinter: rear, "
    "vorderst: front, hinterst: rear, ober: top, unter: bottom, oberst: top, "
    "unterst: bottom, linkest: leftmost, rechtest: rightmost, "
    "nächst: nearest, gleich: same, nah: near, näher: nearer, nächstgelegen: nearest, "
    "fern: far, entferntest: farthest, fernst: farthest, weitest: farthest, "
    "erst: first, zweit: second, dritt: third, viert: fourth, letzt: last, "
    "ander: other, hell: light, dunkel: dark, dunkl: dark, heller: lighter, "
    "dunkler: darker, leer: empty, voll: full, offen: open, alt: old, "
    "neu: new, rund: round, eckig: square, dünn: thin, dick: thick, "
    "hölzern: wooden, metallen: metal"
)
_PHRASES = {
    # Articles, and what stands for them
    **dict.fromkeys(("der", "die", "das", "den", "dem", "des"), "the"),
    **dict.fromkeys(("ein", "eine", "einen", "einem", "einer", "eines"), "a"),
    **dict.fromkeys(("dieser", "diese", "dieses", "diesen", "diesem"), "this"),
    **dict.fromkeys(("jener", "jene", "jenes", "jenen", "jenem", "das da", "die da"), "that"),
    **dict.fromkeys(("mein", "meine", "meinen", "meinem", "meiner"), "my"),
    **dict.fromkeys(("dein", "deine", "deinen", "deinem", "deiner"), "your"),
    **dict.fromkeys(("unser", "unsere", "unseren", "unserem", "unserer"), "our"),
    **dict.fromkeys(("alle", "allen", "sämtliche"), "all"),
    **dict.fromkeys(("alle die", "all die"), "all the"),
    **dict.fromkeys(("jeder", "jede", "jedes", "jeden", "jedem"), "every"),
    **dict.fromkeys(("beide", "beiden"), "both"),
    **dict.fromkeys(("die beiden", "den beiden", "die zwei"), "the two"),
    **dict.fromkeys(("kein", "keine", "keinen", "keinem", "keiner"), "no"),
    **word_map(
        "zwei: two, drei: three, vier: four, fünf: five, sechs: six, "
        "einige: some, mehrere: several, ein paar: some, etwas: something, "
        "alles: everything, irgendetwas: anything, irgendwas: anything"
    ),
    "noch einer": "another one",
    # Parts of what there is
    **{
        f"{number} {of}": f"{english} of the"
        for number, english in word_map(
            "eine: one, einen: one, eins: one, einer: one, eines: one, zwei: two, drei: three, "
            "vier: four, fünf: five, sechs: six"
        ).items()
        for of in ("der", "von den")
    },
    **dict.fromkeys(("eine andere", "einen anderen", "ein anderes", "ein anderer"), "another"),
    # What something is for
    **word_map(
        "zu trinken: to drink, zu dem trinken: to drink, zu essen: to eat, zu dem essen: to eat, "
        "zu lesen: to read, zu dem lesen: to read, zu dem schreiben: to write with, "
        "zu dem schneiden: to cut with, was zu trinken: something to drink, "
        "was zu essen: something to eat, was zu lesen: something to read"
    ),
    **dict.fromkeys(("noch ein", "noch eine", "noch einen"), "another"),
    # Pronouns
    **dict.fromkeys(("es", "ihn", "ihm"), "it"),
    "sie": "it",
    **word_map(
        "den da: that, beides: both, dort: there, dorthin: there, da: there, "
        "dahin: there, hinein: there, rein: there, darauf: there, drauf: there, "
        "da rein: there, da drauf: there, dort hinein: there, dort rein: there"
    ),
    # Where
    **dict.fromkeys(
        ("ganz links", "am weitesten links", "am linken Rand", "ganz linke"), "on the far left"
    ),
    **dict.fromkeys(("ganz rechts", "am weitesten rechts", "am rechten Rand"), "on the far right"),
    **dict.fromkeys(("ganz vorne", "ganz vorn"), "at the very front"),
    **dict.fromkeys(("ganz hinten",), "at the very back"),
    **dict.fromkeys(("links von", "links neben", "zur linken von"), "to the left of"),
    **dict.fromkeys(("rechts von", "rechts neben"), "to the right of"),
    **dict.fromkeys(("links", "auf der linken Seite", "zur Linken"), "on the left"),
    **dict.fromkeys(("rechts", "auf der rechten Seite", "zur Rechten"), "on the right"),
    **dict.fromkeys(("vorne", "vorn"), "in front"),
    "hinten": "at the back",
    **word_map("oben: at the top, unten: at the bottom, in der Mitte: in the middle"),
    **dict.fromkeys(("am nächsten an", "am nächsten bei", "am nächsten zu"), "closest to"),
    **dict.fromkeys(("am weitesten weg von", "am weitesten entfernt von"), "farthest from"),
    **word_map(
        "von links: from the left, von rechts: from the right, "
        "neben: next to, bei: near, nahe: near, vor: in front of, hinter: behind, "
        "zwischen: between, in: in, auf: on, unter: under, über: above, "
        "an: at, von: from, aus: from, mit: with, ohne: without, zu: to, "
        "außer: except, nicht: not, und: and, oder: or, ist: is, sind: are, "
        "am: at the, dort drüben: over there, da drüben: over there, "
        "da vorne: in front, da hinten: at the back, hier: here, sehr: very"
    ),
}
_GLOSSARY = Glossary(
    nouns=_NOUNS,
    adjectives=_ADJECTIVES,
    endings=("er", "es", "en", "em", "e"),
    noun_endings=("s", "es", "n", "en", "e"),
    phrases=_PHRASES,
    parts=_PARTS,
    shades={"dunkel": "dark", "hell": "light", "knall": "bright"},
    plural_determiners=word_set(
        "die meine deine unsere diese jene alle beide beiden zwei drei vier fünf sechs keine "
        "mehrere einige viele sämtliche"
    ),
    plural_after=frozenset({"two", "three", "four", "all", "both"}),
)


_ALL_ADJECTIVES = frozenset(
    fold(stem) + ending for stem in _ADJECTIVES for ending in (*_GLOSSARY.endings, "")
)
_ALL_NOUNS = frozenset(
    fold(form) + ending for forms in _NOUNS for form in forms.split() for ending in ("", "n", "s")
)
_HELPS = "(geben|reichen|bringen|holen|nehmen|greifen|heben|aufheben|hochheben|haben|anreichen)"
GERMAN = Language(
    fillers=(
        "noch mal|nochmal|noch einmal|äh|ähm|öh|hm|hmm|tja|ach|bitte|mal|bitte mal|doch|"
        "doch mal|eben|halt mal|einfach|gerade|"
        "mir|uns|mir mal|zuerst|als erstes|eigentlich|nämlich|bitteschön|bitte schön|irgendwo|"
        "irgendwie|jetzt|gleich"
    ),
    openers=(
        "hallo|hey|hi|he|ok|okay|gut|also|so|ja|na|nun|und|dann|aber|roboter|lieber roboter|"
        "hallo roboter|danach|zuerst|schnell|vorsichtig|langsam|erst|als nächstes|"
        "kannst du|könntest du|würdest du|willst du|magst du|kann man|können wir|könnten wir|"
        "können sie|könnten sie|würden sie|ich möchte dass du|ich will dass du|du sollst|du kannst|"
        "du musst|wärst du so nett und|sei so gut und|sei so nett und|sei so lieb und|"
        "wenn du kannst|es wäre nett wenn du|versuch|versuche|hilf|geh und|los|lass uns|wir wollen"
    ),
    closers=(
        "bitte|danke|danke schön|dankeschön|vielen dank|danke dir|für mich|schnell|vorsichtig|"
        "langsam|sofort|wieder|ja|ok|okay|roboter|wenn du kannst|wenn es geht|wenn möglich|her|"
        "zuerst|dann|auch|noch|nochmal|gern|gerne"
    ),
    asides=Asides(
        phrases=(
            "(weil|denn|sonst|damit|bevor|solange|sobald|falls|während|wenn) "
            "(ich|du|er|sie|es|wir|ihr|man|jemand|niemand|der|die|das|meine|mein)",
            "(vorsicht|vorsichtig|achtung|pass auf|es eilt|keine eile)",
            "(es ist|es war|es wird|es hat|da ist|da sind|hier ist|hier sind)",
            "(ich komme|ich kann|ich hab|ich habe|ich bin|ich brauche sie|ich brauche es|"
            "ich brauche ihn) (nicht|keine|kein|gerade|schon|die|das|den|meine|heute|jetzt|es|ihn)",
        ),
        subjects=word_set("ich du er sie es wir ihr man jemand niemand"),
        stating=frozenset(),
        objects=frozenset(),
        verbs=word_set("ist sind war waren hat haben"),
        open_ends=r"(?!)",
    ),
    contractions=word_map(
        "zum: zu dem, zur: zu der, vom: von dem, im: in dem, ins: in das, "
        "aufs: auf das, beim: bei dem, vors: vor das, hinters: hinter das, "
        "unters: unter das, uebers: über das, gib's: gib es, nimm's: nimm es"
    ),
    numbers={"2": "zwei", "3": "drei", "4": "vier", "5": "fünf", "6": "sechs", "1.": "erste"},
    misheard_adjectives={"rod": "rot", "rode": "rote", "roden": "roten", "weise": "weiße"},
    misheard_nouns={},
    sentences={
        "carry": (
            "(bring|bringe|trag|trage|transportier|transportiere|schaff|schaffe) {}",
            "{} (bringen|tragen|transportieren)",
        ),
        "pick": (
            "(nimm|nehme|greif|greife|schnapp|schnappe|pack|packe|hol|hole|gib|reich|reiche) {}",
            "(nimm|greif|heb|hebe|hol|hole|nehmen sie|heben sie) {} "
            "(auf|hoch|heraus|raus|weg|in die Hand)",
            "(gib|reich|reiche|hol|hole) {} (her|rüber|herüber|an)",
            "(heb|hebe|halt|halte) {}",
            "(greif|greife|such und bring) (nach|zu) {}",
            "(ich brauche|ich will|ich hätte|ich nehme|ich möchte|ich brauch|wir brauchen) {}",
            "(ich will|ich hätte|ich möchte) {} (haben|gern|gerne)",
            "(ich will|ich hätte|ich möchte) (gern|gerne) {}",
            "(kann ich|könnte ich|darf ich|dürfte ich) {} (haben|bekommen|kriegen)",
            f"{{}} {_HELPS}",
            "(räum|räume) {} weg",
            "(fass|fasse) {} (an|)",
            "(geben|nehmen|bringen|holen|reichen|greifen) sie {}",
        ),
        "put": (
            "(leg|lege|stell|stelle|setz|setze|tu|tue|pack|packe|steck|stecke|wirf|werfe) {}",
            "(leg|stell|setz|tu|pack|steck|leere|kipp) {} (hinein|rein|hin|drauf|ab)",
            "(schieb|schiebe|bewege|beweg|verschieb|verschiebe|räum|räume|lass) {}",
            "(stapel|stapele|staple) {}",
            "{} (legen|stellen|setzen|tun|packen|stecken|werfen|schieben|räumen|stapeln)",
            "(legen|stellen|setzen|tun) sie {}",
        ),
        "find": (
            "(such|suche|find|finde|entdecke|lokalisiere|sieh|erkenne) {}",
            "(such|suche|schau|schaue|guck|halt ausschau|halte ausschau) nach {}",
            "(wo ist|wo sind|wo steht|wo stehen|wo liegt|wo liegen|wo befindet sich|wo bleibt) {}",
            "(wo ist|wo sind|wo steht|wo liegt) {} (hin|hier|denn|geblieben|wieder)",
            "wo (habe|hab) ich {} (hingelegt|gelassen|hingestellt|hingetan)",
            "(siehst du|erkennst du|findest du|entdeckst du|sehen sie|hast du) {}",
            "hast du {} (gesehen|gefunden)",
            "{} (sehen|finden|suchen|entdecken|erkennen)",
            "(gibt es|gibt's|ist da|ist dort|sind da|liegt da|steht da|ist hier|gibts) {}",
            "(gibt es|gibt's) (hier|da|dort) {}",
            "ist {} (da|hier|zu sehen|auf dem Tisch)",
            "(wie viele|zähl|zähle) {}",
            "wie viele {} (siehst du|gibt es|sind da|sind es|stehen da)",
            "(ich suche|ich finde|wir suchen) {}",
            "ich finde {} nicht",
            "ich habe {} verloren",
            "sag (wo) {} (ist|sind|steht|liegt)",
        ),
        "destination": (
            "(fahr|fahre|geh|gehe|lauf|laufe|roll|rolle|beweg dich|bewege dich|komm|komme|flieg|"
            "dreh dich) "
            "(hin |rüber |weiter |zurück |)(zu|in|an|auf|vor|neben|hinter|bis zu|richtung|nach) {}",
            "(fahr|fahre|geh|gehe|lauf|laufe) {} (entgegen|an)",
            "(nähere dich|steuere) {}",
            "(bring|führ|führe|fahr) mich (zu|in|an) {}",
            "zu {} (fahren|gehen|laufen|kommen|rollen)",
        ),
        "segment": (
            "(zeig|zeige|markier|markiere|verfolge|verfolg|beobachte|segmentiere|umrande) {}",
            "betrachte {}",
            "(zeig|zeige|deute|schau|schaue|guck|sieh|blick) auf {}",
            "(schau|schaue|guck|sieh) {} an",
            "(schau|schaue|guck|sieh) (dir|) {} (an|)",
            "{} (zeigen|markieren|ansehen|anschauen|verfolgen|beobachten)",
            "(behalte|behalt) {} im (Auge|Blick)",
            "(was ist|was sind|was ist das) {}",
        ),
    },
    nouns_too=frozenset(),
    destinations=(
        Destination(role="place", wins=True, prepositions="in|hinein in|rein in"),
        Destination(role="place", prepositions="auf|oben auf|drauf auf"),
        Destination(role="place", prepositions="zu|hin zu|rüber zu"),
        Destination(role="place_beside", prepositions="neben|direkt neben|an|nahe an"),
        Destination(role="place_behind", prepositions="hinter"),
        Destination(role="place_in_front_of", prepositions="vor"),
        Destination(role="place_left_of", prepositions="links neben|links von"),
        Destination(role="place_right_of", prepositions="rechts neben|rechts von"),
        Destination(role="place_under", prepositions="unter"),
        Destination(role="place_above", prepositions="über"),
        Destination(role="place_between", prepositions="zwischen"),
    ),
    carry_to="in|auf|zu|neben|vor|hinter|unter|über|zwischen|links neben|rechts neben|hin zu|an",
    asking="kannst du|könntest du|würdest du",
    here="dorthin|dort|dahin|da rein|da drauf|hinein|rein|darauf|drauf|dort rein|dort hinein",
    copulas=word_set("ist sind steht liegt nicht"),
    locative=word_set("der dem einem einer meinem meiner diesem dieser linken rechten"),
    two_way=word_set("in auf neben vor hinter unter über zwischen an links rechts"),
    stop=(
        "stopp|stop|halt|halt an|anhalten|stehen bleiben|stehenbleiben|bleib stehen|warte|warten|"
        "hör auf|höre auf|aufhören|abbrechen|brich ab|abbruch|vergiss es|vergiss das|egal|"
        "schon gut|ist gut|lass es|lass das|lass gut sein|lass|nicht|das reicht|es reicht|"
        "reicht|genug|fertig|das war's|das wars|das war alles|danke das reicht|pause|ruhe|nichts|"
        "nein danke|ach egal|nicht so wichtig|ist egal|beenden|ende|schluss|stopp stopp|"
        "sofort stopp|notaus|not aus|nicht bewegen|keine bewegung|halt stopp|tu nichts|mach nichts|"
        "lass los"
    ),
    halt=word_set("stopp stop"),
    repeat=(
        "noch mal|nochmal|noch einmal|nochmals|wiederhole|wiederhol|wiederholen|wiederhole das|"
        "wiederhol das|das gleiche noch mal|das gleiche nochmal|das gleiche noch einmal|"
        "dasselbe noch mal|dasselbe nochmal|dasselbe|das gleiche|das selbe|mach das noch mal|"
        "mach das nochmal|mach das noch einmal|mach es noch mal|mach es nochmal|"
        "mach es noch einmal|tu das noch mal|versuch es noch mal|versuch es nochmal|"
        "versuch es noch einmal|versuche es noch einmal|probier es noch mal|probier es nochmal|"
        "schau noch mal|erneut|und noch mal|weiter|mach weiter|wie eben|wie vorhin|"
        "noch einmal das gleiche|such weiter"
    ),
    nameless=(
        "(dreh|drehe) (dich|) (um|nach links|nach rechts|links|rechts|)",
        "(fahr|fahre|geh|gehe|komm|komme) (vor|vorwärts|zurück|rückwärts|nach links|nach rechts|"
        "links|rechts|geradeaus|her|hierher|näher|weg|schneller|langsamer|nach hause|rein|raus)",
        "(leg|lege|stell|stelle|setz) (es|ihn|sie|das|alles) (ab|hin|weg|zurück)",
        "(öffne|schließ|schließe) (die|deine|den|deinen) (hand|hände|greifer)",
        "(heb|hebe|senk|senke) (den|deinen) arm",
        "(lass los|lass es los|folge mir|hilf mir|beeil dich|mach schneller|räum auf)",
        "mach das licht (an|aus)",
        "(danke|vielen dank|hallo|guten morgen|guten tag|hilfe|tschüss|gut gemacht|sehr gut|prima)",
        "was (siehst|kannst|machst) du",
        "was ist (das|dies|los)",
        "(wer|wo) bist du",
    ),
    forbid="nicht|niemals|vergiss|ich will nicht|du sollst nicht|auf keinen fall",
    forbid_at_end="nicht",
    correct=(
        "nein|nee|ne|nö|nein nein|nein nicht|falsch|nein falsch|das ist falsch|"
        "das war falsch|entschuldigung|sorry|verzeihung|ich meine|ich meinte|ich meinte eher|"
        "ich hab gemeint|ich habe gemeint|warte|moment|halt|lieber|sondern|vielmehr|besser|"
        "doch lieber|doch eher|eher|stattdessen|nicht der|nicht den|nicht die|nicht das|"
        "nicht der da|das nicht|den nicht|"
        "die nicht|nicht diese|nicht diesen|nicht dieses|ich wollte|was ist mit|wie wäre es mit|"
        "nimm lieber|nimm doch lieber|dann lieber|versuch|probier"
    ),
    instead="stattdessen|meine ich|meinte ich|lieber|hab ich gemeint|habe ich gemeint|bitte nicht",
    repairs=(
        "nein warte|warte nein|nein moment|ich meine|ich meinte|quatsch|ach nein|nein doch|"
        "entschuldigung|sorry|vielmehr|nein halt|besser gesagt|nein ich meine|halt nein|"
        "nee warte|oder nein|oder vielmehr|oder besser|nein lieber"
    ),
    bare_repairs="nein|nee|doch lieber|oder doch",
    negations="nicht|statt|anstatt|anstelle von|und nicht|nein nicht",
    but="sondern|aber|sondern lieber|vielmehr|und",
    connectors="und|&|dann|und dann|danach|und danach|anschließend|und anschließend",
    joiners="und|&|und auch|sowie|oder|und dann|dann|danach|und danach",
    binders=word_set("zwischen mit ohne außer"),
    determiners=word_set(
        "der die das den dem des ein eine einen einem einer dieser diese dieses diesen diesem "
        "jene mein meine meinen meinem meiner dein deine deinen unser unsere alle allen jeder "
        "jede jedes jeden beide beiden zwei drei vier fünf sechs einige mehrere etwas "
        "alles kein keine keinen "
        "irgendetwas irgendwas sämtliche noch"
    )
    - {"noch"},
    possessive=r"(?!)",
    pronouns=word_set("es ihn sie das die den dies diese beides beide"),
    tails=(
        "in|auf|an|am|von|zu|mit|ohne|bei|neben|vor|hinter|unter|über|zwischen|aus|außer|links|"
        "rechts|vorne|vorn|hinten|ganz|oben|unten|da|dort|hier|nicht|und|oder|die ist|das ist|"
        "der ist|nahe"
    ),
    sides=word_set("links rechts linken rechten linke rechte seite mitte rand"),
    adjectives=_ALL_ADJECTIVES - word_set("unter hinter über aus"),
    nouns=_ALL_NOUNS,
    examples=(
        "the name of a thing ('die rote Tasse'), or nimm, leg, stell, bring, such, zeig, fahr zu, "
        "stopp"
    ),
    choices="oder|oder lieber|noch",
    articles=word_set(
        "der den dem des ein eine einen einem einer mein meine meinen dein deine deinen unser"
    ),
    subordinators=word_set(
        "zwischen mit ohne außer wo was womit worauf worin um zu zum welche welcher welches"
    ),
    persons=word_set("mir mich uns dir dich euch jemanden jemand"),
    object_pronouns=word_set("es ihn ihm"),
    indefinite=word_set("etwas irgendetwas irgendwas was jemand jemanden irgendjemand"),
    exactly=word_set("genau nur exakt"),
    uncovered=UNCOVERED,
    glossary=_GLOSSARY,
)
