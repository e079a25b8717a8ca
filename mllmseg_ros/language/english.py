# SPDX-License-Identifier: Apache-2.0
"""English: how people command a robot. A table, see language.py for what each entry means."""

from __future__ import annotations

from mllmseg_ros.language import vocabulary
from mllmseg_ros.language.english_uncovered import UNCOVERED
from mllmseg_ros.language.english_words import ADJECTIVE_CLASSES, NOUNS
from mllmseg_ros.language.language import Asides, Destination, Language, word_map, word_set

__all__ = ["ENGLISH", "FUNCTION_WORDS"]

_PICKED = "(up |out |over |)"
_ME = "(me|us)"
ENGLISH = Language(
    fillers=(
        "pretty please|um|umm|uh|uhm|er|erm|em|hm|hmm|mm|mhm|ah|oh|uh huh|please|pls|kindly|damn|"
        "bloody|the hell|the heck"
    ),
    openers=(
        "hey|hi|hello|ok|okay|alright|all right|yes|yeah|yep|sure|great|good|well|so|now|and|then|"
        "but|just|maybe|perhaps|possibly|quickly|quick|carefully|gently|slowly|first|next|finally|"
        "also|listen|look here|excuse me|pardon me|thanks|thank you|robot|hey robot|dear robot|"
        "robbie|buddy|my friend|sir|madam|ma'am|miss|mate|man|dear|sweetie|honey|darling|pal|you|"
        "excuse me sir|excuse me miss|computer|machine|everybody|"
        "can you|could you|would you|will you|can u|could we|can we|shall we|you can|you could|"
        "you should|you must|you may|you need to|you have to|you will|"
        "would you mind|do you mind|would you be able to|are you able to|would you be so kind to|"
        "would you be so kind as to|would it be possible to|is it possible to|"
        "be so kind and|be so kind as to|be a dear and|do me a favor and|do me a favour and|"
        "if you can|if you could|if possible|when you can|when you get a chance|when you have time|"
        "when you are ready|i want you to|i would like you to|i'd like you to|i need you to|"
        "i'd love you to|i want to|i'd love to|we want to|i would like to|i'd like to|"
        "i wonder if you could|i was wondering if you could|"
        "i think you should|it would be nice if you could|it would be great if you could|"
        "any chance you could|your task is to|your job is to|your next task is to|"
        "go ahead and|go and|come and|try to|try and|help me|help me to|help me out and|"
        "let's|let us|lets|like|actually|simply|right now|this time|for me|start to|begin to|"
        "go|to|time to|why don't you|how about you|i said|i say|the task is to|make sure to|"
        "do you happen to|did you happen to|stop and|you know what|you know|whoa|oh|lovely|love|yo|"
        "dude|bro|go on|go on and|let's see if you can|let's see if it can|it will|it is going to|"
        "it's going to|i want that you|i need that you|i suppose you could|mind"
    ),
    closers=(
        "thanks|thank you|thank you very much|thanks a lot|many thanks|cheers|for me|for us|"
        "now|right now|right away|immediately|quickly|quick|carefully|gently|slowly|"
        "at once|asap|will you|would you|could you|can you|won't you|if you can|if you could|"
        "if possible|if you don't mind|if you would|when you can|when you get a chance|"
        "when you have time|when you have a moment|first|okay|ok|robot|buddy|my friend|again|then|"
        "too|as well|real quick|before it falls|before it falls down|before it rolls away|"
        "before it breaks|before it gets cold|and be careful|be careful|but be careful|"
        "alright|you know|sir|madam|ma'am|miss|mate|man|dear|sweetie|honey|darling|pal|"
        "please|pls|already|dude|bro|if you would|if you will|would you please|could you please|"
        "can you please|love|will ya|"
        "would ya|very carefully|very slowly|very gently|no rush|and hurry|and hurry up|"
        "and hurry up a bit|hurry|hurry up|and be quick|and be quick about it|and wait|"
        "and wait for me|and wait there|and wait outside|and wait for me there|and stay there|"
        "and wait there for me|and wait here|and come back|and then come back|and come back here|"
        "and go home|and then go home|then stop|and stop|and then stop"
    ),
    asides=Asides(
        phrases=(
            "(because|'cause|cuz|since|unless|until|if|when|while|before|so|so that|or|as) "
            "(i|you|we|he|she|they|it|i'm|you're|we're|he's|she's|they're|it's|i'll|you'll|we'll|"
            "he'll|she'll|they'll|it'll|i'd|you'd|we'd|he'd|she'd|they'd|i've|you've|we've|they've|"
            "somebody|someone|anybody|anyone|everybody|everyone|nobody)",
            "(because|'cause|cuz|so|before) (the|my|our|your|that|this)",
            "where (i|you|we|he|she|they|everybody|everyone) (can|can't|could|won't)",
            "(careful|be careful|watch out|mind you|no rush|no hurry|take your time)",
            "(it's|it is|it has|it was|it had|it takes|it gets|it needs|it keeps|it won't|it will)",
            "(it looks|it seems|it smells|it might|it could|it should|it must|it doesn't|it isn't)",
            "(there's|there is|there are|there's|here's|here is)",
            "(i've|we've|they've|you've|he's|she's) (got a|got an|got the|got to|got no|been|no)",
            "(i can't|i cannot|i couldn't|i can hardly|i can barely) (see|reach|hear|move|walk|"
            "stand)",
            "that (hurts|tickles)",
        ),
        subjects=word_set(
            "i you we he she they it i'm you're we're he's she's they're i've we've they've you've "
            "i'll we'll he'll she'll they'll i'd we'd he'd she'd they'd "
            "somebody someone nobody everybody everyone"
        ),
        stating=word_set("i'm you're we're he's she's it's they're there's"),
        objects=word_set("it them something anything everything nothing"),
        verbs=word_set(
            "is are was were isn't aren't has have hasn't haven't says said needs wants keeps"
        ),
        open_ends=(
            r"is|are|was|has|needs|wants|in|on|at|of|to|from|with|by|under|behind|for|about|into|off|over|up|down|after|"
            r"(?!(waiting|coming|leaving|going|sleeping|burning|freezing|pouring|raining|crying|"
            r"working|moving|hurting|bleeding|killing|visiting|morning|evening|meeting)$)\w+ing"
        ),
    ),
    contractions={"gimme": "give me", "lemme": "let me", "wanna": "want to", "gotta": "have to"},
    numbers={
        **{str(index): word for index, word in enumerate(vocabulary.COUNTS) if index},
        **word_map("6: six, 7: seven, 8: eight, 9: nine, 10: ten, 11: eleven, 12: twelve"),
        **word_map("1st: first, 2nd: second, 3rd: third, 4th: fourth"),
    },
    misheard_adjectives=word_map(
        "read: red, rad: red, blew: blue, wight: white, write: right, rite: right, too: two, "
        "won: one, grean: green, yello: yellow"
    ),
    misheard_nouns=word_map(
        "bowel: bowl, bole: bowl, boll: bowl, bawl: ball, plait: plate, mugg: mug, bocks: box, "
        "bare: bear, wring: ring"
    ),
    sentences={
        "carry": (
            "(bring|carry|deliver|take|transport|pass|hand|give|get) (over |back |){}",
            f"(bring|carry|deliver|take) (to |over to |){_ME} {{}}",
            "(bring|carry|deliver|take) {} (over |back |)(here|over here|to me|to us|over to me)",
            "(bring|fetch) (here|over here) {}",
            "(bring|fetch|get) {} (up here|in here|down here|out here|over)",
            f"bringing ({_ME[1:-1]}|) {{}}",
        ),
        "pick": (
            f"(pick|lift|take|grab|get|fish) {_PICKED}{{}}",
            "(pick|lift|take|get|fish|hand|pass|give|grab) {} (up|out|over)",
            "(pick|lift|take|get) {} up (again|off there)",
            "(pickup|fetch|grasp|grip|catch|collect|retrieve|seize|hold|clutch|snatch) {}",
            "(get|take|grab|catch) hold of {}",
            f"(hand|pass|give|get|fetch|grab|throw|find and bring|go get|go and get) "
            f"(to |over to |for |){_ME} {{}}",
            "(hand|pass|give) (over |out |){}",
            "(hand|pass|give|get|fetch) (over |out |){} (over |)(to me|to us|here|over here|back)",
            f"(handing|passing|giving|getting|fetching|grabbing) {_ME} {{}}",
            "(picking up|getting|fetching|grabbing|taking|lifting|passing|handing over) {}",
            f"let {_ME} have {{}}",
            "(i need|i want|i'd like|i would like|i'll take|i'll have|we need|i could use) {}",
            "(i need|i want|i'd like|i would like|i'm gonna need|i am going to need) to have {}",
            "(i need|i want|we need|need|i'd like) {} (in here|over here|up here|down here|"
            "out here)",
            "(i'm gonna need|i'm going to need|i am going to need|i am needing|i'm needing|need|"
            "i could really use|we could use|what i need is|what i want is|what i'm after is) {}",
            "(get|pull) {} out",
            f"reach {_ME} (down |over |up |){{}}",
            f"(take|pick|get) for {_ME} {{}}",
            "(can|could|may|might) i (please |)(have|get) {}",
            "remove {}",
            "(choose|pick out) {}",
            "(scoop|pull|dig|dig me|fish) (up|out|down) {}",
            "(scoop|pull|dig) {} (up|out|down)",
            "reach (out |over |)for {}",
            "(grab|get) hold of {}",
            "(clear|take) away {}",
            "(clear|take) {} away",
        ),
        "put": (
            "(put|place|set|lay|stick|drop|stack|leave|insert|position|pop|shove|stuff) "
            "(down |back |){}",
            "(move|shift|transfer|transport|push|slide|relocate|toss|throw|chuck|dump) {}",
            "(tuck|slip|slot|plop|lean|fit|squeeze) {}",
            "(pour|empty|load|pack|store|park|stand|rest|hang|deposit|release|balance|return|"
            "file) {}",
            "(putting|placing|moving|dropping|setting) {}",
        ),
        "find": (
            "find (me |us |out |for me |for us |){}",
            "(see|spot|locate|detect|identify|recognize|recognise|notice) {}",
            "(look|search|scan|check|hunt|watch out) (around |everywhere |)for {}",
            "(where is|where's|wheres|where are|where did you see|where was|where were) {}",
            "(where is|where's|where are|where was) {} (at|now|hiding|again|located)",
            "(where) {} (is|are)",
            "(whereabouts|where abouts) (is|are) {}",
            "(where has|where have|where is|where's|wheres|where are) {} (gone|got to)",
            "where (did|do) {} (go|go to|belong)",
            "where (did|do) (i|you|we|they) (put|leave|lay|have|keep|see) {}",
            "where (can|could|do|would) (i|we|you) (find|see) {}",
            "(do|did|can|could|have|don't|if) you (see|seen|spot|have|find|found|spotted) {}",
            "(do|can|could) you (see|spot|find) {} (anywhere|somewhere|here)",
            "(see|spot|find) {} (anywhere|somewhere)",
            "have you (seen|got|found) {}",
            "have you (seen|got|found) {} anywhere",
            "have you (got|caught|had) (eyes on|sight of) {}",
            "(do|can|could) you (have eyes on|make out) {}",
            "(is|are) {} (anywhere|somewhere|still|near|close) "
            "(here|around|around here|there|on the table|in sight|in view|to be seen)",
            "(is|are) {} (anywhere|somewhere|in the room|around here|nearby)",
            "(check|see|tell me) (if|whether) (there is|there's|there are) (any |){}",
            "(is|are) there (any |){}",
            "(is|are) there any {} (left|here|anywhere|around)",
            "(do|does) (we|you|i) have any {}",
            "(do|does) (we|you|i) (still |)have (any |){} (left|in stock|anywhere|somewhere)",
            "find out where (is|are) {}",
            "find out where {} (is|are)",
            "where (it is|it's|they are) {}",
            "(do |)you see (somewhere|anywhere) {}",
            "(is|are) there {} (anywhere|here|around|around here|in sight|somewhere)",
            "(is|are) {} (there|here|visible|in sight|in view|around|in the picture|on the table)",
            "(do|does) (we|you) have {}",
            "(looking|searching) for {}",
            "(i'm|i am|we're|we are) (looking|searching) for {}",
            "(i've|i have) lost {}",
            "any sign of {}",
            "(i can't|i cannot|i can not|i couldn't) (find|see) {}",
            "(tell|show) me where {} (is|are)",
            "(tell|show) me (if|whether) you (can |)(see|find) {}",
            "(tell|show) me if there (is|are) {}",
            "do you know where {} (is|are)",
            "(count|how many) {}",
            "how many {} (are|is) (there|here|left|on the table|in front of you)",
            "how many {} (can|do|could|did) (you|we) (see|find|spot|count|have)",
            "how many {} (can|do|could) (you|we) (see|have) (left|here|there)",
            "(finding|locating|looking for|searching for) {}",
            "what about finding {}",
        ),
        "destination": (
            "(go|move|drive|walk|come|head|navigate|travel|run|roll|fly|proceed|return|back|turn|"
            "get|step|ride|race|rush|hurry|steer) (straight |over |back |closer |up |out |on |"
            "down |along |around |"
            "all the way |)"
            "(to|towards|toward|up to|near|near to|nearer to|into|next to|close to) {}",
            "(head|make|leave|start|set off|set out) (off |straight |out |)for {}",
            "(approach|reach|visit|enter|near|follow me to) {}",
            f"(take|bring|lead|guide|drive|carry|get) {_ME} (over |back |)(to|into|towards) {{}}",
            "(go|drive|move) (at|by|beside|in front of|near) {}",
            "(wait|stand|park|stop) (for me |)(at|by|beside|next to|near|in front of) {}",
            "(going|driving|moving|heading|walking|coming) (over |)(to|towards|toward) {}",
            "(dock|park) (at|on|in|by) {}",
            "(make|find|work) your way (over |)(to|towards) {}",
            "meet me (at|by|near) {}",
            "(swing|drop|pop|stop) by {}",
            "(get|bring|move|take|drag|roll|drive|haul) yourself (over |off |back |)(to|towards|"
            "near) {}",
            "(run|hop|pop|nip|come|go|drive|roll|move) (along|over here|on over|on down|"
            "down) to {}",
            "(go|come) (and wait|wait) (in|at|by|near) {}",
            "i (need|want) you (over |)(at|by|in|next to) {}",
        ),
        "segment": (
            f"show (to |){_ME} {{}}",
            "show {} (to me|to us|)",
            "(look|point|aim|gaze|stare|glance) (over |straight |directly |)at {}",
            "(highlight|mark|outline|select|segment|track|follow|watch|observe|examine|inspect) {}",
            "(focus|concentrate|zoom in|zoom) (on|in on) {}",
            "(keep an eye|keep your eyes|keep your eye) on {}",
            "(point|pointing|looking) (to|at) {}",
            "(check|check out|circle|label|mask|draw|colour|color|describe) {}",
            "(have|take|get) a (look|closer look|better look|good look) at {}",
            "(point out|indicate) {}",
            "(point out|indicate) {} (to me|to us|for me)",
            "point {} out (to me|to us|)",
            f"let {_ME} (have a look at|take a look at|see) {{}}",
            "(give|get) me the (mask|outline|position|location|pixels|coordinates) of {}",
            "(what|which|which one|which of these|which of them|which of those) (is|are) {}",
        ),
    },
    nouns_too=word_set(
        "place set lay stick drop stack mark point watch park head can back hand pass light box "
        "book set step ride race stand rest near pop catch grip hold pack store load pickup back "
        "label circle mask draw check see spot scan show run track roll move lift "
        "empty open close leave color colour park match fish throw dump push slide return "
        "reach visit get take clear carry "
        "ring iron drill nail saw paint sign record film photograph copy text call phone dial "
        "cook heat cool drink bite water plant burn blow touch pet rub kick punch dance "
        "play work wake sleep order rent guard attack chase jump climb wave bow kiss help dream "
        "spell measure compare test try use dress charge plug program schedule love join press "
        "pull crush pump spray toast fly sail bend crack cut slice chop peel wash wipe dust mop "
        "vacuum polish sort screw glue twist tilt flip shake mix fill roll switch hit click lock "
        "swap exchange craft repair score finish start reset share save store protect shout"
    ),
    destinations=(
        Destination(
            role="place",
            wins=True,
            prepositions="into|onto|inside|inside of|back into|back onto|up onto|down into",
        ),
        Destination(
            role="place",
            wins=True,
            prepositions="in|back in|down in|right in|straight in|over in|away in|out in",
        ),
        Destination(
            role="place",
            prepositions="on|on top of|upon|atop|back on|down on|to the top of|over onto|right on|"
            "up on|over on|right on top of|back on top of",
        ),
        Destination(
            role="place",
            prepositions="to|over to|back to|at|over at|towards|up to|down to|out to|back over to|"
            "through to|across to|along to|around to|round to",
        ),
        Destination(
            role="place_beside",
            prepositions="next to|beside|near|close to|by|alongside|right next to|to the side of|"
            "over by|up against|against|down next to|right by|right beside|right near|right up to|"
            "down beside|down by|up next to|over next to|closer to|nearer to|up close to",
        ),
        Destination(
            role="place_behind",
            prepositions="behind|in back of|in the back of|right behind|down behind",
        ),
        Destination(
            role="place_in_front_of",
            prepositions="in front of|before|down in front of|right in front of",
        ),
        Destination(
            role="place_left_of",
            prepositions="left of|to the left of|on the left of|on the left side of|"
            "to the left side of",
        ),
        Destination(
            role="place_right_of",
            prepositions="right of|to the right of|on the right of|on the right side of|"
            "to the right side of",
        ),
        Destination(role="place_under", prepositions="under|underneath|below|beneath"),
        Destination(role="place_above", prepositions="above|over"),
        Destination(role="place_between", prepositions="between|in between"),
    ),
    carry_to=(
        "into|onto|to|over to|back to|inside|up to|down to|out to|back over to|through to|"
        "across to|along to|around to|round to"
    ),
    asking="can you|could you|would you|will you",
    here="there|over there|in there|on there|inside it",
    copulas=word_set("is are was were isn't aren't not lies stands sits standing lying"),
    locative=frozenset(),
    two_way=frozenset(),
    stop=(
        "stop|stop it|stop that|stop this|stop now|stop there|stop right there|stop here|stop stop|"
        "stop moving|stop looking|stop searching|stop everything|stop what you are doing|"
        "stop what you're doing|stop tracking|stop going|stop there|stop working|full stop|"
        "emergency stop|e-stop|estop|e stop|freeze right there|stop right now|please stop|"
        "just stop|do stop|"
        "stop doing that|stop the robot|"
        "halt|freeze|hold it|hold on|hold it right there|hold still|stay|stay there|"
        "stay where you are|wait|wait a minute|wait a second|wait a moment|whoa|woah|easy|pause|"
        "never mind|nevermind|never mind that|never mind then|forget it|forget that|"
        "forget about it|forget about that|forget everything|cancel|cancel that|cancel it|"
        "cancel everything|cancel the command|cancel that command|cancel the last command|abort|"
        "abort mission|quit|enough|that's enough|that is enough|that'll do|that will do|that's it|"
        "that's all|that is all|that's fine|we're done|we are done|i'm done|you're done|done|"
        "you are done|all done|no more|leave it|leave it be|let it be|drop it|let it go|don't|"
        "do not|don't do that|don't move|do not move|don't do it|do nothing|no thanks|no thank you|"
        "no stop|end|finish|finished|give up|relax|stand by|standby|at ease|shut up|quiet|"
        "scrap that|scratch that|"
        "i changed my mind|i've changed my mind|changed my mind|knock it off|cut it out|"
        "not now|nothing|off|undo|terminate|cease|stand down|back off"
    ),
    halt=word_set("stop halt freeze whoa woah"),
    repeat=(
        "again the same|the same one more time|do the same thing one more time|again|"
        "once again|once more|one more time|repeat|repeat that|repeat it|repeat please|"
        "repeat the command|repeat the last command|repeat the last one|repeat what you did|"
        "do it again|do that again|do it once more|do that once more|do it one more time|"
        "do that one more time|try again|try it again|try that again|try once more|"
        "try it once more|try one more time|try it one more time|give it another try|"
        "give it another go|another try|have another go|same again|the same again|same thing|"
        "the same thing|same thing again|the same thing again|do the same|do the same again|"
        "do the same thing|do the same thing again|redo|redo that|redo it|look again|"
        "check again|go again|another time|encore|as before|same as before|the same as before|"
        "like before|like last time|same as last time|say again|go on|continue|carry on|resume|"
        "keep going|keep looking|keep trying"
    ),
    nameless=(
        "(turn|rotate|spin|look) (left|right|around|round|to the left|to the right|to your left|"
        "to your right|back|a bit|a little|up|down)",
        "(go|move|drive|roll|come|back|step|walk) (forward|forwards|back|backward|backwards|up|"
        "down|left|right|to the left|to the right|closer|away|faster|slower|home|straight|"
        "straight on|straight ahead|ahead|a bit forward|a little forward|here|over here|there|"
        "over there)",
        "(put|set|lay) (it|that|this|them|those|everything) (down|away|back|aside|down again)",
        "(put|lift|raise|lower|move) your (arm|arms|hand|hands|head|gripper) (up|down|)",
        "(open|close) (the|your) (gripper|hand|hands|fingers|claw)",
        "(open|close) (up|)",
        "(let go|let go of it|let it go of|release|release it|drop it here|throw it away)",
        "(follow|help|hug|watch|answer|listen to) me",
        "(come|get) (here|over here|back|back here|closer|in|inside|out|outside)",
        "(turn|switch) (on|off|it on|it off|yourself off|the light on|the light off|the lights on|"
        "the lights off|on the light|off the light|on the lights|off the lights)",
        "(get up|sit down|sit|stand up|lie down|dance|wave|hurry|hurry up|speed up|slow down|"
        "go to sleep|wake up|charge|recharge|charge yourself|clean up|tidy up)",
        "(thanks|thank you|thank you very much|thanks a lot|well done|good job|good robot|"
        "great job|nice|very good|perfect|hello|hi|hey|hello there|hi there|hello robot|hi robot|"
        "you|thanks for watching|thank you for watching|"  # what recognisers make of noise
        "good morning|good evening|good night|bye|goodbye|see you|sorry|help|help me|yes|okay|ok)",
        "what (do|can) you (see|do|hear|find|know)",
        "(who|what|how|where) are you",
        "(what is|what's) (your name|that|this|it|going on|the time|the weather like)",
        "(the other way around|the other way round|a bit more|a little more|"
        "a bit more to the left|a bit more to the right|a bit to the left|a bit to the right|"
        "higher|lower|faster|slower|louder|quieter)",
    ),
    forbid=(
        "don't|do not|dont|never|you must not|you mustn't|you should not|you shouldn't|never mind|"
        "forget|forget about|cancel|i don't want|i do not want|leave out|"
        "stop looking|stop searching|stop following|stop tracking|stop picking|stop going|"
        "stop driving|stop moving|stop bringing|stop putting|stop pointing"
    ),
    forbid_at_end="",
    correct=(
        "no|nope|nah|no no|no silly|no dear|no mate|no wait|wait no|wait|oh no|wrong|wrong one|"
        "that's wrong|that is wrong|"
        "that's not it|that's not right|that is not what i meant|that's not what i meant|"
        "not what i meant|no not that|not that|not that one|not this one|not this|not it|"
        "no not that one|no that's wrong|that's not the one|sorry|sorry no|my mistake|my bad|oops|"
        "i meant|i mean|i actually meant|what i meant was|what i mean is|i really meant|"
        "i was talking about|i'm talking about|i was thinking of|"
        "actually|rather|or rather|correction|instead|better|make it|make that|let's make it|"
        "change that to|change it to|change to|switch to|it's|it is|it should be|it was|i said|"
        "i wanted|what about|how about|try|use|on second thought|on second thoughts|"
        "i'd rather have|i would rather have|i'd prefer|i would prefer|i prefer|let's try|try with"
    ),
    instead=(
        "instead|actually|i meant|i mean|rather|is what i meant|was what i meant|not that one|"
        "not that|not this one|not this"
    ),
    repairs=(
        "no wait|wait no|no sorry|sorry no|i mean|i meant|sorry i meant|sorry i mean|or rather|"
        "correction|scratch that|no i mean|no i meant|wait i mean|actually no|no actually|"
        "no make that|make that|oh wait|wait|no no|or actually|no rather|strike that|"
        "oops i mean|oh sorry|i'm sorry|sorry|well actually|or no"
    ),
    bare_repairs="no|actually|nope|oh no",
    negations="not|rather than|instead of|and not|but not|don't want|no not",
    but="but|but rather|i meant|rather|it's|it is|and",
    connectors=(
        "so|so just|and|&|then|and then|and after that|after that|afterwards|and afterwards|"
        "and also|and now|and finally|before you|next"
    ),
    joiners="and|&|and also|and then|then|as well as|plus|or",
    binders=word_set("between with that which who whose except but without among both"),
    determiners=word_set(
        "the a an my your our his her its their this that these those all every each any some "
        "both either no two three four five six several another one everything anything "
        "something nothing everyone someone anybody somebody whatever"
    )
    - {"no"},
    possessive=r"(?!(it|that|he|she|what|where|who|there|here|let|how|everybody)'s$).+'s",
    pronouns=word_set("it that this them those these him her both")
    | {"both of them", "all of them", "the same", "these two", "those two"}
    | {"the same one", "the same thing"},
    tails=(
        "in|on|at|of|to|from|with|without|near|by|next to|beside|behind|under|below|above|over|"
        "between|among|in front of|inside|on top of|against|around|beneath|underneath|for|left of|"
        "right of|to the left of|to the right of|furthest to|closest to|closest|farthest|furthest|"
        "that is|that are|that isn't|that aren't|that was|that has|that have|that i|that you|"
        "that we|that can|that looks|that's|which|who|whose|where|except|but|other than|over there|"
        "i|you|we|they|he|she|standing|lying|sitting|holding|wearing|made|full|up|down|out|off|"
        "away|here|there|nearest|not|before|after"
    ),
    sides=word_set("left right middle center centre top bottom front back side rear end"),
    adjectives=frozenset().union(*ADJECTIVE_CLASSES.values()) | {"very", "most", "same"},
    nouns=NOUNS,
    examples="the name of a thing ('the red mug'), or pick up, put, bring, find, show, go to, stop",
    choices="or|or maybe|nor",
    articles=word_set("the a an my your our their its every"),
    subordinators=word_set(
        "that which who whose whom where whatever what to between with except but without among "
        "both"
    ),
    persons=word_set("me us you myself yourself everybody everyone somebody someone"),
    object_pronouns=word_set("it them him"),
    indefinite=word_set("something anything someone anyone somebody anybody whatever"),
    exactly=word_set("exactly only just precisely"),
    uncovered=UNCOVERED,
)

# They name nothing by themselves, in any expression.
FUNCTION_WORDS = frozenset(
    part
    for phrase in (
        *(ENGLISH.determiners | ENGLISH.pronouns | ENGLISH.binders | ENGLISH.copulas),
        *ENGLISH.sides,
        *ENGLISH.tails.split("|"),
    )
    for part in phrase.replace("'", " ").split()
)
