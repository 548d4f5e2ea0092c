"""What Kokoro says for the overlap classifier to learn from, and its saying it.

Backchannels are scarce in recordings, so Kokoro speaks them, in all of its voices. It speaks interruptions in
the same voices: otherwise "synthesised" would come to mean "backchannel".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bench.overlap_sounds import EVENT_S, KINDS, Floats, Kind, Sound
from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.g2p import pronounce
from media.engines.kokoro_clause import RATE_HZ
from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_parts import FRAME_SAMPLES, KokoroParts
from media.engines.kokoro_runs import runs_of
from media.engines.kokoro_vocabulary import token_ids
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES, language_of
from media.resampler import resample
from media.speech_trim import sound_bounds
from server.model_store import ModelStore, default_root

_LONGEST_FRAMES = round((EVENT_S + 0.15) * RATE_HZ / FRAME_SAMPLES)


def _phrases(text: str) -> tuple[str, ...]:
    """Phrases between bars. One between slashes is given in phonemes, which no spelling would bring."""
    return tuple(" ".join(phrase.split()) for phrase in text.split("|"))


HUMMED = _phrases(
    """
    /mhˈm./ | /mˌmhˈm./ | /mːhˈmː./ | /ˈmːhmː./ | /hˈm./ | /hˈmː,/ | /ˈmː./ | /mˈm,/ | /ˌmhˈm?/ |
    /ʌhˈʌ./ | /ˌʌhˈʌ,/ | /əhˈʌ./ | /ˈɑː./ | /ˈʌ./ | /ˈɑhɑ./ | /ˌʌˈʌ./ | /ˈeɪ,/ | /ˈəm./
    """
)
BACKCHANNELS = {
    "en": _phrases(
        """
        Right. | Yeah. | Okay. | Sure. | I see. | Yes. | Got it. | Oh. | Ah. | Wow. | Yep. | Yup. |
        Uh-huh. | Cool. | Nice. | Oh, okay. | Yeah, yeah. | Right, right. | Okay, | Yeah,
        | Right, | True. | Great. | Of course. | Exactly. | Oh wow. | Really? | Alright.
        """
    ),
    "es": _phrases(
        """
        Sí. | Vale. | Claro. | Ajá. | Ya. | Bueno. | Ah. | Sí, sí.
        """
    ),
    "fr": _phrases(
        """
        Oui. | D'accord. | Ouais. | Ah. | Ok. | Bien sûr. | Oui oui. | Ah bon.
        """
    ),
    "it": _phrases(
        """
        Sì. | Certo. | Ok. | Ah. | Va bene. | Esatto. | Sì, sì. | Già.
        """
    ),
    "pt-br": _phrases(
        """
        Sim. | Tá. | Certo. | Ah. | Uhum. | Claro. | É. | Tá bom.
        """
    ),
    "hi": _phrases(
        """
        हाँ। | अच्छा। | ठीक है। | जी। | हाँ हाँ। | सही।
        """
    ),
}
INTERRUPTIONS = {
    "en": _phrases(
        """
        Wait, stop. | No, I meant the other one. | Hold on a second. | Actually, can you do it again? |
        Stop. | What about tomorrow? | Wait. | No. | No, no, no. | Sorry, can I ask something? | Excuse
        me. | Can you repeat that? | I don't want that. | Hang on. | But what about the price? | Never
        mind. | Listen, I have a question. | That's not what I asked. | How much does it cost? | Cancel
        that. | Could you speak slower please? | Let me stop you there. | One moment. | Quit. | Please
        stop talking. | Yeah, but how long does it take? | Okay, so what should I do now? | Right, and
        then what happens? | Tell me about the other option. | Is it open on Sundays? | Four of them. |
        Skip it. | Go back. | My name is Robert. | Today. | Twenty five. | Next one. | Hello? | Who is
        that? | When? | Why? | Enough. | Be quiet. | Help. | Monday morning. | Book a table for two. |
        Play some music. | Thanks, bye. | That's wrong. | It's the second one. | Yes, please do that
        now. | Oh, I forgot to tell you something.
        """
    ),
    "es": _phrases(
        """
        Espera, para. | No, quería decir otra cosa. | ¿Y mañana? | Para. | Un momento, por favor. | No.
        | ¿Cuánto cuesta eso? | Perdona, tengo una pregunta. | Quiero otra cosa. | ¿Puedes repetirlo?
        """
    ),
    "fr": _phrases(
        """
        Attends, arrête. | Non, je voulais dire autre chose. | Et demain ? | Stop. | Un instant. | Non.
        | Combien ça coûte ? | Excusez-moi, j'ai une question. | Pouvez-vous répéter ? | Je veux autre
        chose.
        """
    ),
    "it": _phrases(
        """
        Aspetta, fermati. | No, volevo dire un'altra cosa. | E domani? | Basta. | Un momento. | No. |
        Quanto costa? | Scusa, ho una domanda. | Puoi ripetere? | Voglio un'altra cosa.
        """
    ),
    "pt-br": _phrases(
        """
        Espera, para. | Não, eu quis dizer outra coisa. | E amanhã? | Para. | Um momento. | Não. |
        Quanto custa isso? | Desculpe, tenho uma pergunta. | Pode repetir? | Quero outra coisa.
        """
    ),
    "hi": _phrases(
        """
        रुको। | नहीं, मेरा मतलब कुछ और था। | कल का क्या? | एक मिनट। | नहीं। | यह कितने का है? | फिर से
        बताइए।
        """
    ),
}
LAUGHS = _phrases(
    """
    /hˈɑhɑhɑhɑ!/ | /hˈəhəhəhəhə!/ | /hˈihihihi!/ | /ˈhːhːhːhː!/ | /hhhˈɑː./
    """
)
A_VOICE_SAYS: dict[Kind, int] = {"interruption": 9, "backchannel": 10, "noise": 1}


class Voices:
    """Kokoro, made whole, phrase by phrase; what was spoken once is kept in a folder."""

    def __init__(self, cache: Path) -> None:
        store = ModelStore(default_root())
        self._model = store.path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx"
        self._styles = store.path("kokoro-voices")
        self._parts: KokoroParts | None = None
        self._norms = KokoroNorms()
        self._options = ort.RunOptions()
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)

    def all(self) -> Iterator[Sound]:
        """What every voice says: phrases and speeds drawn at random, the same each time."""
        for number, voice in enumerate(VOICE_NAMES):
            chance = np.random.default_rng(number)
            language = language_of(voice)
            said = {
                "interruption": _sayable(INTERRUPTIONS, language),
                "backchannel": [*_sayable(BACKCHANNELS, language), *HUMMED],
                "noise": list(LAUGHS),
            }
            for kind in KINDS:
                for phrase in chance.permutation(said[kind])[: A_VOICE_SAYS[kind]]:
                    speed = round(float(chance.uniform(0.85, 1.3)), 2)
                    said_so = self.speak(voice, str(phrase), speed)
                    yield Sound(str(phrase), voice, kind, said_so, language=language)

    def speak(self, voice: str, phrase: str, speed: float) -> Floats:
        """A phrase from its first sound to its last, 16 kHz."""
        kept = self._cache / f"{voice} {speed} {phrase.replace('/', '|')}.npy"
        if kept.exists():
            return Audio(np.load(kept), SPEECH_RATE_HZ).as_float32()
        sound = trimmed(self._spoken(voice, phrase, speed), RATE_HZ)
        np.save(kept, resample(Audio(sound, RATE_HZ), SPEECH_RATE_HZ).as_int16())
        return self.speak(voice, phrase, speed)

    def _spoken(self, voice: str, phrase: str, speed: float) -> Floats:
        if self._parts is None:
            self._parts = KokoroParts.load(self._model, threads=2)
        language = language_of(voice)
        if phrase.startswith("/"):
            ids = token_ids(phrase.strip("/"))
        else:
            is_english = phrase in BACKCHANNELS["en"] or phrase in INTERRUPTIONS["en"]
            spelled_in = "en-us" if is_english and not language.startswith("en") else language
            ids = next(iter(runs_of(pronounce(phrase, spelled_in)))).token_ids
        styles = np.fromfile(self._styles / f"{voice}.bin", np.float32).reshape(STYLE_ROWS, 1, STYLE_WIDTH)
        clause = self._parts.prepare(ids, styles[len(ids) - 1], speed, self._options)
        norms = self._norms.predict(voice, clause)
        # Only what sounds and will be heard: the last two tokens are the full stop and the pad.
        start = max(0, int(clause.durations[0]) * 2 - 10)
        end = min(int(clause.durations[:-2].sum()) * 2 + 8, start + _LONGEST_FRAMES, clause.frames)
        return self._parts.speak_window(clause, norms, start, end, self._options)


def _sayable(by_language: dict[str, tuple[str, ...]], language: str) -> list[str]:
    """Those of the voice's language where there are some, and English ones: many accents are foreign."""
    key = "en" if language.startswith("en") else language
    return [*by_language.get(key, ()), *by_language["en"]]


def trimmed(samples: Floats, rate_hz: int) -> Floats:
    """From the first sound to the last."""
    start, end = sound_bounds(samples, rate_hz) or (0, len(samples))
    return samples[start:end]
