# SPDX-License-Identifier: Apache-2.0
"""Recognise commands with pocketsphinx and a grammar: offline, on one core, with its own model.

With a grammar, any sound is recognised as words. Other speech is rejected by the fit of the words,
on average and of the worst one: pocketsphinx scores each frame against the best of all sounds of
the model, and in other speech at least one word fits badly. Each utterance is decoded
twice, for a longer and a shorter vocal tract (frequency warping). The better fit counts, with a
penalty if the texts differ. The most likely sentences of both are the hypotheses. Entry point:
:class:`Sphinx`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mllmseg_ros.language.grammar import build_jsgf, build_matcher
from mllmseg_ros.speech.audio import Samples, Utterance
from mllmseg_ros.speech.transcription import Hypothesis, Transcription

if TYPE_CHECKING:
    import pocketsphinx

_PEAK = 16000  # amplitude after normalisation
_DITHER = 80.0  # standard deviation of added noise; digital silence costs a third of the words
# The fit is the log-likelihood per frame of all words plus that of the worst word. _MIDDLE is the
# fit with confidence 0.5, _WIDTH its scale. In noise all sounds fit equally well, so the fit is
# reduced by _PENALTY_PER_DB for each dB of contrast below _CONTRAST_DB. Tuned with
# `benchmarks/speech.py --tune`.
_MIDDLE, _WIDTH = -10.5, 1.0
_CONTRAST_DB, _PENALTY_PER_DB = 22.0, 0.5
_DISAGREEMENT = 2.0  # penalty on the fit if both decodings differ
_WARPS = ("1.0", "1.12")  # of the frequency axis
# Half as wide as pocketsphinx's defaults: as accurate, in half of the time.
_BEAMS = {"beam": 1e-40, "wbeam": 1e-24, "pbeam": 1e-40}
# Of the sentences of a decoding; there are many for each text, which differ in silence only.
_N_SENTENCES, _N_TEXTS = 150, 8
# From the logarithm of pocketsphinx's score, which is scaled down, to that of a likelihood. Tuned
# so that what is accepted is wrong in one case of 20.
_SCALE = 60.0
_FRAME = 160  # samples, 10 ms
_MIN_LIKELIHOOD = 1e-300  # of a word; pocketsphinx returns 0 on underflow


class Sphinx:
    """Recognises sentences of the grammar, with a confidence."""

    def __init__(
        self, language: str = "en", wake_word: str = "", names: Sequence[str] = ()
    ) -> None:
        """Load the model that comes with pocketsphinx.

        Args:
            language: only "en".
            wake_word: first words of every command; "" for none.
            names: more names of things.

        Raises:
            RuntimeError: pocketsphinx is missing.
            ValueError: The language is not English, or a word is not in the dictionary.
        """
        try:
            import pocketsphinx
        except ImportError:
            raise RuntimeError(
                "pocketsphinx is missing: install requirements/speech.txt "
                "(pip install pocketsphinx)"
            ) from None
        if language != "en":
            raise ValueError(f"pocketsphinx supports en only, not {language!r}; use whisper")
        model = pocketsphinx.get_model_path("en-us")
        self._decoders = [
            pocketsphinx.Decoder(
                pocketsphinx.Config(
                    hmm=f"{model}/en-us",
                    dict=f"{model}/cmudict-en-us.dict",
                    lm=None,
                    cmn="batch",
                    warp_type="inverse_linear",
                    warp_params=warp,
                    loglevel="FATAL",
                    **_BEAMS,
                )
            )
            for warp in _WARPS
        ]
        for word in wake_word.split():
            if not self._knows_word(word):
                raise ValueError(f"pocketsphinx has no pronunciation of the wake word {word!r}")
        for name in names:
            for word in name.split():
                if not self._knows_word(word):
                    raise ValueError(f"pocketsphinx has no pronunciation of {word!r} in {name!r}")
        grammar = build_jsgf(own_names=names, can_hear=self._knows_word, wake_word=wake_word)
        self._sentence = build_matcher(grammar)
        for decoder in self._decoders:
            decoder.add_jsgf_string("commands", grammar)
            decoder.activate_search("commands")

    def _knows_word(self, word: str) -> bool:
        return self._decoders[0].lookup_word(word) is not None

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise an utterance; the text is "" for incomplete sentences."""
        samples = _normalise(utterance)
        hypotheses = [self._decode(decoder, samples) for decoder in self._decoders]
        text, fit = max(hypotheses, key=lambda hypothesis: hypothesis[1])
        if not text:
            return Transcription(text="", confidence=0.0)
        if any(other != text for other, _ in hypotheses):
            fit -= _DISAGREEMENT
        fit -= _PENALTY_PER_DB * max(0.0, _CONTRAST_DB - _contrast_db(utterance))
        confidence = _logistic((fit - _MIDDLE) / _WIDTH)
        return self._rank(text, confidence)

    def _rank(self, text: str, confidence: float) -> Transcription:
        """Rank the sentences of all decoders by their likelihood; ``text`` fits best."""
        likelihoods: dict[str, float] = {}
        for decoder in self._decoders:
            for sentence, likelihood in self._iterate_sentences(decoder):
                likelihoods[sentence] = max(likelihood, likelihoods.get(sentence, -math.inf))
        ranking = sorted(likelihoods, key=lambda sentence: likelihoods[sentence], reverse=True)
        return Transcription(
            text=ranking[0] if ranking else text,
            confidence=confidence,
            hypotheses=tuple(
                Hypothesis(text=sentence, log_likelihood=_SCALE * likelihoods[sentence])
                for sentence in ranking
            ),
        )

    def _iterate_sentences(self, decoder: pocketsphinx.Decoder) -> Iterable[tuple[str, float]]:
        """Yield the most likely complete sentences, each with the logarithm of its score."""
        texts: set[str] = set()
        for entry in itertools.islice(decoder.nbest(), _N_SENTENCES):
            if entry.hypstr and entry.hypstr not in texts:
                texts.add(entry.hypstr)
                if self._sentence.fullmatch(f"{entry.hypstr} "):
                    yield entry.hypstr, math.log(max(entry.score, _MIN_LIKELIHOOD))
            if len(texts) >= _N_TEXTS:
                return

    def _decode(self, decoder: pocketsphinx.Decoder, samples: Samples) -> tuple[str, float]:
        """Decode a complete sentence and its fit; "" if there is none."""
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        words = [
            _WordScore(
                word=part.word.partition("(")[0],  # "the(2)": another pronunciation
                frames=part.end_frame - part.start_frame + 1,
                log_likelihood=math.log(max(part.ascore, _MIN_LIKELIHOOD)),
            )
            for part in decoder.seg() or ()
            if part.word[0] not in "<[("  # silence and noise
        ]
        # The last word may be breath after the sentence.
        for scores in (words, words[:-1]):
            text = " ".join(part.word for part in scores)
            if scores and self._sentence.fullmatch(f"{text} "):
                return text, _fit(scores)
        return "", -math.inf


@dataclass(frozen=True, kw_only=True)
class _WordScore:
    """A recognised word with its likelihood."""

    word: str
    frames: int  # of 10 ms
    log_likelihood: float  # 0 for a perfect fit of each frame


def _fit(scores: Sequence[_WordScore]) -> float:
    mean = sum(part.log_likelihood for part in scores) / sum(part.frames for part in scores)
    return mean + min(part.log_likelihood / part.frames for part in scores)


def _contrast_db(utterance: Utterance) -> float:
    """Compute how much louder the loud parts of an utterance are than the quiet ones."""
    whole = len(utterance.samples) // _FRAME * _FRAME
    frames = utterance.samples[:whole].reshape(-1, _FRAME).astype(np.float32)
    energies = np.square(frames).mean(axis=1) + 1.0
    quiet, loud = np.quantile(energies, (0.1, 0.9))
    return float(10 * np.log10(loud / quiet))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, x))))


def _normalise(utterance: Utterance) -> Samples:
    samples = utterance.samples.astype(np.float32)
    peak = float(np.abs(samples).max(initial=1.0))
    noise = np.random.default_rng(0).normal(scale=_DITHER, size=samples.shape)
    return (samples * (_PEAK / peak) + noise).astype(np.int16)
