"""The 54 voices of Kokoro v1.0.

A name says what the voice is: the first letter is the language, the second the sex. Source: the model's
`VOICES.md`.
"""

from __future__ import annotations

LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "zh",
}
"""The first letter of a voice's name → BCP-47 tag."""

VOICE_NAMES = (
    *("af_heart", "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_nicole", "af_nova"),
    *("af_river", "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam"),
    *("am_michael", "am_onyx", "am_puck", "am_santa"),
    *("bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis"),
    *("ef_dora", "em_alex", "em_santa"),
    "ff_siwis",
    *("hf_alpha", "hf_beta", "hm_omega", "hm_psi"),
    *("if_sara", "im_nicola"),
    *("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo"),
    *("pf_dora", "pm_alex", "pm_santa"),
    *("zf_xiaobei", "zf_xiaoni", "zf_xiaoxiao", "zf_xiaoyi"),
    *("zm_yunjian", "zm_yunxi", "zm_yunxia", "zm_yunyang"),
)

STYLE_ROWS = 510
"""A voice file has one style for each length of a clause, in phoneme tokens."""

STYLE_WIDTH = 256

_SEXES = {"f": "female", "m": "male"}


def language_of(voice: str) -> str:
    """The BCP-47 tag of a voice of `VOICE_NAMES`."""
    return LANGUAGES[voice[0]]


def label_of(voice: str) -> str:
    """A voice of `VOICE_NAMES` for people: `Heart (female)`."""
    return f"{voice[3:].title()} ({_SEXES[voice[1]]})"
