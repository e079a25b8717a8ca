# SPDX-License-Identifier: Apache-2.0
"""German that the patterns of german.py do not cover: other requests, questions, no things.

A table, see language.py for what each entry means.
"""

from __future__ import annotations

from mllmseg_ros.language.language import Uncovered, word_set

__all__ = ["UNCOVERED"]

# Verbs of requests that need more than to see, to take or to go: imperatives and infinitives.
_OTHER_ACTIONS = word_set(
    "öffne öffnen mach mache machen schließ schließe schließen sperr sperre verriegle verriegele "
    "drück drücke drücken klick klicke schlag schlage klopf klopfe klopfen klingel klingele läute "
    "schalt schalte schalten dreh drehe drehen kipp kippe schüttel schüttle schütteln rühr rühre "
    "rühren misch mische mischen gieß gieße gießen füll fülle füllen falte falten roll rolle "
    "brich zerbrich schneid schneide schneiden schäl schäle schälen wasch wasche waschen spül "
    "spüle spülen wisch wische wischen putz putze putzen reinige reinigen trockne trocknen fege "
    "feg kehre kehr saug sauge bügel bügle sortier sortiere sortieren ordne ordnen tausch tausche "
    "tauschen ersetz ersetze bau baue bauen bastel bastle reparier repariere reparieren kleb klebe "
    "binde bind wickel wickle schraub schraube schrauben bohr bohre säge streich streiche male mal "
    "zeichne schreib schreibe schreiben lies lese lesen spiel spiele spielen fotografier "
    "fotografiere filme druck drucke kopier kopiere ruf rufe anrufen antworte frag frage fragen "
    "sag sage sagen erzähl erzähle erzählen sprich sprechen rede reden sing singe singen tanz "
    "tanze tanzen lach lache koch koche kochen back backe backen brate braten erhitze wärm wärme "
    "kühl kühle iss esse essen trink trinke trinken probier probiere probieren riech rieche beiß "
    "füttere fütter pflanze zünde lösch lösche blas blase berühr berühre berühren fühl fühle "
    "streichel streichle tritt trete schieß zerstör zerstöre versteck verstecke kauf kaufe kaufen "
    "verkauf verkaufe bestell bestelle bewach bewache beschütz beschütze kämpf kämpfe spring "
    "springe kletter klettere schwimm schlaf schlafe schlafen sitz sitze sitzen setz ruh winke "
    "wink klatsch klatsche begrüß begrüße umarm umarme küss küsse hilf helfen lern lerne lehre "
    "merk merke merken erinner erinnere denk denke glaub glaube erklär erkläre übersetz übersetze "
    "rechne zähl wieg wiege wiegen miss messe messen vergleich vergleiche prüf prüfe prüfen teste "
    "benutz benutze benutzen zieh ziehe ziehen lad lade aufladen starte beende installier "
    "installiere wart warte arbeite arbeiten tu tun hör höre hören lieb liebe entscheide versprich "
    "behalt decke deck räum verlass verlasse gewinn schneiden tragen anziehen lesen schreiben "
    "naschen knabbern anschauen sehen schreiben putzen"
)
UNCOVERED = Uncovered(
    actions=_OTHER_ACTIONS,
    idioms=(
        "mach ein foto|mach fotos|pass auf dich|nimm platz|nimm dir zeit|nimm rücksicht|gib auf|"
        "gib acht|gib ruhe|leg los|stell dir vor|was ist dein|was ist deine|was ist mit dir|"
        "wie geht|wie heißt|sieh zu|sieh mal nach ob|schau mal ob|schau ob|finde heraus|"
        "finde raus|wirf einen blick|stell einen wecker|deck den tisch"
    ),
    questions=(
        "warum|wieso|weshalb|wozu|wann|wie|wer ist da|wer bist|regnet|schneit|wer hat|wessen|ist|"
        "sind|war|waren|hat|haben|"
        "bin ich|bist du|seid ihr|hast du|habt ihr|kannst du|kann ich|kann er|kann sie|kann es|"
        "können wir|könntest du|darf ich|dürfen wir|soll ich|sollen wir|muss ich|müssen wir|"
        "willst du|wirst du|wird es|wird das|würdest du|magst du|möchtest du|weißt du|"
        "verstehst du|hörst du|siehst du|erkennst du|findest du|siehst|gibt es|gibt's|wo|wohin|"
        "woher|was machst|was tust|was hast|was kannst|was willst|was soll|was sollen|was denn|"
        "was nun|was jetzt|was noch|was ist los|was ist passiert|was ist dein|was ist das|"
        "was für|welche farbe|welcher tag|welches datum|geht es|geht's|stimmt|stimmt's|echt|"
        "wirklich"
    ),
    conditions="wenn|falls|sobald|nachdem|bevor|bis|solange|während|sofern|ob|außer wenn|nach",
    quantities=(
        "mindestens|höchstens|mehr als|weniger als|bis zu|so viele|so viel|so wenige|die hälfte|"
        "hälfte|die meisten|null|0|kein|keine|keinen|keinem|keiner|keines|nichts|weder|entweder|"
        "jede zweite|jeden zweiten|jedes zweite|etwa|ungefähr|circa|ca|fast|zu viele|genug|"
        "wie viele"
    ),
    leftovers=(
        "zweimal|dreimal|viermal|einmal|mehrmals|oft|immer|immer wieder|jeden tag|jedes mal|"
        "nacheinander|eins nach dem anderen|eine nach der anderen|gleichzeitig|und zurück|"
        "und wieder zurück|und so weiter|oder so|oder nicht|danach|davor|bis|falls|wenn|weil|"
        "sobald|solange|ob|morgen|heute abend|später"
    ),
    no_things=(
        "den rest|der rest|was|etwas|irgendetwas|irgendwas|noch etwas|nichts|eins|die hand|"
        "deine hand|etwas anderes|jemand|jemanden|niemand|niemanden|"
        "einander|aufeinander|eine reihe|einer reihe|einen kreis|die hälfte|eine hand|ein foto|"
        "ein bild|platz|teil|den nächsten|die nächste|das nächste|nächste|nächster|nächstes|"
        "die treppe"
    ),
    question_words=word_set(
        "dass was welche welcher welches wie warum wieso weshalb wann wer wessen wem wen ob wohin "
        "woher"
    ),
    abstract=word_set(
        "zeit minute minuten moment augenblick sekunde sekunden stunde stunden tag tage woche "
        "wochen monat monate jahr jahre heute morgen gestern pause schlaf spaziergang gefallen "
        "chance idee ideen rat antwort antworten frage fragen problem probleme grund gründe sinn "
        "wahrheit lüge witz witze geschichte name namen alter arbeit job hölle himmel ärger glück "
        "liebe frieden hoffnung spaß freude geduld sorge sorgen aufmerksamkeit nachricht "
        "nachrichten wetter temperatur datum plan pläne weg wege richtung hilfe unterschied "
        "versuch kuss meinung erinnerung erfahrung leben tod gott mittagessen abendessen frühstück "
        "erlaubnis information informationen lärm musik stimme geschwindigkeit gewicht höhe länge "
        "form preis kosten status geheimnis geheimnisse gefühl uhrzeit los mühe lektion "
        "entscheidung wunsch schluss ordnung ruhe verstanden"
    ),
    results=word_set("offen auf zu geschlossen sauber leer voll trocken nass warm kalt bereit"),
    each=word_set("jede jeder jedes jeden jedem"),
    noted_closers=word_set("warte zurück heim"),
)
