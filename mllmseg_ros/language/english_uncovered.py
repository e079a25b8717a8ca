# SPDX-License-Identifier: Apache-2.0
"""English that the patterns of english.py do not cover: other requests, questions, no things.

A table, see language.py for what each entry means.
"""

from __future__ import annotations

from mllmseg_ros.language.language import Uncovered, word_set

__all__ = ["UNCOVERED"]

# Verbs of requests that need more than to see, to take or to go, as people give them to robots.
_OTHER_ACTIONS = word_set(
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
UNCOVERED = Uncovered(
    actions=_OTHER_ACTIONS,
    idioms=(
        "take a photo|take photos|take a picture|take pictures|take a selfie|take care|take part|"
        "take place|take turns|take it easy|take notice|take note|get ready|get lost|get going|"
        "get well|give up|give way|give in|hold your|make sure that|find out why|find out how|"
        "find out what|find out who|find out when|find out if|find out whether|what is your|"
        "what's your|what are your|what is wrong|what's wrong|which is better|what is my name|"
        "what is the meaning|what is the point|see you|see what|see why|see if|pick a fight|"
        "pick a number|pick a card|pick a side|pick your nose|set an alarm|set a timer|"
        "set the table|drop me a|drop dead|hang on|hang up|hang out|throw a party|throw up|"
        "very well|well done|catch up|catch a cold|pass out|pass the time|show off|show some|"
        "show respect"
    ),
    questions=(
        "why|when|how|who are|who is there|who is that|who made|whose|is|isn't|are|aren't|am i|"
        "was|were|does|doesn't|do you|do i|do we|do they|did|didn't|has|hasn't|have you|have we|"
        "have they|should|shall|may i|may we|might|must i|must we|will you|will it|will the|"
        "would you|would it|can you|can i|can we|can it|can the|can he|can she|could you|could i|"
        "could we|could it|where|whereabouts|what time|what day|what date|what year|what are you|"
        "what are we|what do|what did|what does|what will|what can|what should|what happened|"
        "what happens|what else|what now|what next|what for|what if|what is your|what's your|"
        "what are your|what is wrong|what's wrong|what's up|what's new|what is up|what is my name|"
        "what colour|what color|what kind|what size|what shape|what is it|what's it|"
        "which one|which way|do you know|really|seriously|pardon|huh"
    ),
    conditions="if|when|whenever|once|as soon as|after|before|until|unless|while|whether",
    quantities=(
        "at least|at most|more than|less than|fewer than|up to|as many|as much|as few|half|"
        "half of|most of|most|part of|zero|0|none|none of|nothing|neither|neither of|no|"
        "every second|every other|every third|each of|either|too many|too much|enough|"
        "how many|how much|around|about|roughly|almost"
    ),
    leftovers=(
        "twice|thrice|one time|two times|three times|four times|five times|many times|"
        "several times|a few times|times|again|again and again|over and over|every time|"
        "every day|every hour|one by one|one at a time|one after the other|one after another|"
        "at the same time|and back|and back again|and so on|and more|or so|or else|or not|"
        "instead of|after that|before that|after the|after a|after my|vice versa|until|unless|if|"
        "whether|because|"
        "as soon as|as long as|at noon|at midnight|tomorrow|tonight|later|am i|are you|"
        "do you|did you|can you"
    ),
    no_things=(
        "something|anything|nothing|something else|anything else|nothing else|someone|anyone|"
        "somebody|anybody|nobody|no one|each other|one another|itself|themselves|order|a row|"
        "a line|a circle|pairs|half|pieces|a hand|five|high five|a picture|a photo|a seat|"
        "a guess|part|place|off|over|turns|the stairs|a look|a go|a lift|a drink|a bite|"
        "the rest|left|well|clearly|the following|your battery|your status|a step|a stand|"
        "a bow|another look|everything you can|all you can|the first|the last|"
        "the next|the end|none|neither"
    ),
    question_words=word_set("what which how why when who whose whom whether wherever"),
    abstract=word_set(
        "time minute minutes moment second seconds hour hours day days week weeks month months "
        "year years today tomorrow yesterday while break nap sleep walk ride bath shower favor "
        "favour chance idea ideas advice answer answers question questions problem problems "
        "issue issues reason reasons matter meaning truth lie joke jokes story stories name names "
        "age job work hell heaven trouble luck love peace hope fun joy happiness patience care "
        "attention news weather temperature date plan plans way ways direction directions help "
        "sense difference try kiss hug smile opinion memory experience life death god lunch "
        "dinner breakfast permission apology discount information info noise sound voice music "
        "speed weight height length shape price cost status why because better worse wrong fine "
        "ready sure secret secrets times mind feeling feelings effort turn lesson promise dance "
        "decision wish rule rules score"
    ),
    results=word_set(
        "open closed shut clean empty full dry wet warm hot cold ready straight upright"
    ),
    each=word_set("each every"),
    noted_closers=word_set("wait back home stay outside"),
)
