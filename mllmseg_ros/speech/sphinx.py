# SPDX-License-Identifier: Apache-2.0
"""pocketsphinx with the grammar of commands: offline, on one core, its model in its package.

A grammar makes words of any sound. What gives it away is how badly they fit it, all of them and the
worst: pocketsphinx scores each frame against the best of all sounds of the model, and in talk that
is no command one word at least is far from it. Each utterance is heard twice, as of a long throat
and as of a shorter one; what fits better counts, and less where both do not say the same. Entry
point: :class:`Sphinx`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mllmseg_ros.language.grammar import jsgf, matcher
from mllmseg_ros.speech.audio import Samples, Utterance
from mllmseg_ros.speech.transcription import Transcription

if TYPE_CHECKING:
    import pocketsphinx

_PEAK = 16000  # of what is decoded, and
_DITHER = 80.0  # the noise in it: pure silence, which no microphone has, costs a third of the words
# Log-likelihood a frame of all words plus that of the worst one: where the confidence is 0.5, and
# how fast it falls. In noise all sounds fit equally well, so that words have to fit better: by so
# much for each dB that loud and quiet parts are closer together than _CONTRAST_DB. Chosen on the
# commands and talk of `benchmarks/speech.py --tune`.
_MIDDLE, _WIDTH = -10.5, 1.0
_CONTRAST_DB, _PER_DB = 22.0, 0.5
_IN_DOUBT = 2.0  # less, where two hearings differ
_WARPS = ("1.0", "1.12")  # of the frequency axis
# Half as wide as pocketsphinx's own: as good, in half of the time.
_BEAMS = {"beam": 1e-40, "wbeam": 1e-24, "pbeam": 1e-40}
_FRAME = 160  # samples, 10 ms
_LEAST = 1e-300  # likelihood of a word; pocketsphinx gives 0 where a float has no room for it


class Sphinx:
    """Hears the sentences of the grammar, and how far what was said is from them."""

    def __init__(self, language: str = "en", wake_word: str = "") -> None:
        """Load the model that comes with pocketsphinx.

        Raises:
            RuntimeError: saying what to install.
            ValueError: a language other than English, or a wake word that it has no sound of.
        """
        try:
            import pocketsphinx
        except ImportError:
            raise RuntimeError(
                "pocketsphinx is missing: install requirements/speech.txt "
                "(pip install pocketsphinx)"
            ) from None
        if language != "en":
            raise ValueError(f"pocketsphinx hears en only, not {language!r}; use whisper")
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
            if not self._can_hear(word):
                raise ValueError(f"pocketsphinx has no pronunciation of the wake word {word!r}")
        grammar = jsgf(can_hear=self._can_hear, wake_word=wake_word)
        self._whole = matcher(grammar)
        for decoder in self._decoders:
            decoder.add_jsgf_string("commands", grammar)
            decoder.activate_search("commands")

    def _can_hear(self, word: str) -> bool:
        return self._decoders[0].lookup_word(word) is not None

    def __call__(self, utterance: Utterance) -> Transcription:
        """Recognise; of half a sentence the text is ""."""
        samples = _prepared(utterance)
        hearings = [self._heard(decoder, samples) for decoder in self._decoders]
        text, fit = max(hearings, key=lambda hearing: hearing[1])
        if not text:
            return Transcription(text="", confidence=0.0)
        if any(other != text for other, _ in hearings):
            fit -= _IN_DOUBT
        fit -= _PER_DB * max(0.0, _CONTRAST_DB - _contrast_db(utterance))
        return Transcription(text=text, confidence=_logistic((fit - _MIDDLE) / _WIDTH))

    def _heard(self, decoder: pocketsphinx.Decoder, samples: Samples) -> tuple[str, float]:
        """A whole sentence and how well it fits; "" where there is none."""
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        heard = [
            _Part(
                word=part.word.partition("(")[0],  # "the(2)": another pronunciation
                frames=part.end_frame - part.start_frame + 1,
                log_likelihood=math.log(max(part.ascore, _LEAST)),
            )
            for part in decoder.seg() or ()
            if part.word[0] not in "<[("  # silence, noise, what takes no time
        ]
        # A last word may be made of the breath after the sentence.
        for parts in (heard, heard[:-1]):
            text = " ".join(part.word for part in parts)
            if parts and self._whole.fullmatch(f"{text} "):
                return text, _fit(parts)
        return "", -math.inf


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A word, and how well it fits its stretch of sound."""

    word: str
    frames: int  # of 10 ms
    log_likelihood: float  # 0 where each frame sounds as the model's best


def _fit(parts: Sequence[_Part]) -> float:
    mean = sum(part.log_likelihood for part in parts) / sum(part.frames for part in parts)
    return mean + min(part.log_likelihood / part.frames for part in parts)


def _contrast_db(utterance: Utterance) -> float:
    """How much louder the loud parts of an utterance are than the quiet ones."""
    whole = len(utterance.samples) // _FRAME * _FRAME
    frames = utterance.samples[:whole].reshape(-1, _FRAME).astype(np.float32)
    energies = np.square(frames).mean(axis=1) + 1.0
    quiet, loud = np.quantile(energies, (0.1, 0.9))
    return float(10 * np.log10(loud / quiet))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, x))))


def _prepared(utterance: Utterance) -> Samples:
    samples = utterance.samples.astype(np.float32)
    peak = float(np.abs(samples).max(initial=1.0))
    noise = np.random.default_rng(0).normal(scale=_DITHER, size=samples.shape)
    return (samples * (_PEAK / peak) + noise).astype(np.int16)
