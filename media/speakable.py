"""Making written text speakable: what a voice should say instead of Markdown, symbols, links and figures.

What people hear is decided here, what they read is not: the text as written stays in the transcript.
"""

from __future__ import annotations

import re
import unicodedata

from media.speakable_english import in_english_words
from media.speakable_symbols import in_words
from media.text_rules import Rule, rewritten, rule

_MARKDOWN: tuple[Rule, ...] = (
    rule(r"^[ \t]*(?:```|~~~).*$", "", re.MULTILINE),  # the fences of a code block
    rule(r"<!--.*?-->|</?[A-Za-z][^<>]*>", " ", re.DOTALL),  # HTML
    rule(r"\[\^?\d+\]", ""),  # a footnote
    rule(r"!\[([^\]]*)\]\([^)]*\)", r"\1"),  # an image: its description
    rule(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1"),  # a link: its words
    rule(r"^[ \t]*\|?(?:\s*:?-{3,}:?\s*\|)+.*$", "", re.MULTILINE),  # the line under a table's head
    rule(r"^[ \t]*(?:[-*_]\s*){3,}$", "", re.MULTILINE),  # a horizontal rule
    rule(r"^[ \t]*\|(.*?)\|?[ \t]*$", r"\1", re.MULTILINE),  # a table's outer bars
    rule(r"\s+\|\s+", ", "),  # and its inner ones
    rule(r"^\s{0,3}#{1,6}\s+(.*?)[ \t]*#*$", r"\1", re.MULTILINE),  # a heading
    rule(r"^(?:[ \t]*>)+[ \t]?", "", re.MULTILINE),  # a quotation
    rule(r"^[ \t]*[-*+•◦‣]\s+(?:\[[ xX]\]\s+)?", "", re.MULTILINE),  # an item of a list
    rule(r"(\*{1,3}|~~|(?<!\w)_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", re.DOTALL),  # emphasis
    rule(r"\*{1,3}(?=\w)(?<!\d\*)(.+?)\*{1,3}", r"\1", re.DOTALL),  # emphasis inside a word
    rule(r"`+", ""),  # code
    rule(r"\*{2,}|(?<!\S)[*_#]+(?!\S)|(?<=[\w.!?])\*(?!\w)|(?<!\w)\*(?=\w)", ""),  # half of a pair
    rule(r"\\([\\`*_{}\[\]()#+.!|-])", r"\1"),  # escapes
)

_DOTS = {"en": "dot", "es": "punto", "fr": "point", "hi": "डॉट", "it": "punto", "pt": "ponto"}
_ATS = {"en": "at", "es": "arroba", "fr": "arobase", "hi": "ऐट", "it": "chiocciola", "pt": "arroba"}

_LINK = re.compile(r"<?\b(?:https?://|ftp://|www\.)[^\s<>\"”]*[^\s<>\"”.,;:!?)\]'’]>?", re.IGNORECASE)
_EMAIL = re.compile(r"\b[\w.+-]+@(?:[\w-]+\.)+\w{2,}\b")
_BARE_DOMAIN = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|ai|edu|gov|co\.uk|eu)\b", re.IGNORECASE)

_LINE_WITHOUT_A_MARK = re.compile(r"(?<=[\w\"')\]])(?=[ \t]*\n)")
"""The end of a heading or an item: a voice stops there, and needs a mark to know."""

_FULL_STOPS = {"hi": "।", "ja": "。", "zh": "。"}

_QUOTES = str.maketrans("‘’‛′", "''''")
_SPOKEN_SYMBOLS = "°©®™"  # of the category "other symbol", which emoji are too
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_INVISIBLE = frozenset("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0e\ufe0f\u20e3\u00ad")
_JOINERS = frozenset("\u200c\u200d")  # part of the spelling in Indic scripts


def speakable(text: str, language: str) -> str:
    """The words to be spoken for a clause, in one line; empty where nothing of it can be spoken.

    Args:
        text: as written: Markdown, emoji, figures.
        language: BCP-47 tag of the voice. Figures and abbreviations are written out for English; the other
            languages' own G2P reads numbers.
    """
    primary = language.partition("-")[0]
    text = rewritten(text, _MARKDOWN)
    text = _without_emoji(text.translate(_QUOTES), keep_joiners=primary == "hi")
    text = _LINE_WITHOUT_A_MARK.sub(_FULL_STOPS.get(primary, "."), text)
    text = _with_spoken_addresses(text, primary)
    text = in_english_words(text, language) if primary == "en" else in_words(text, primary)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.;:!?])(?!\S)", r"\1", text) if primary != "fr" else text
    text = re.sub(r"\(\s*\)|\[\s*\]", "", text).strip()
    return text if any(letter.isalnum() for letter in text) else ""


def _without_emoji(text: str, *, keep_joiners: bool) -> str:
    return "".join(letter for letter in text if not _is_ornament(letter, keep_joiners=keep_joiners))


def _is_ornament(letter: str, *, keep_joiners: bool) -> bool:
    if letter.isascii():
        return False
    if letter in _INVISIBLE:
        return not (keep_joiners and letter in _JOINERS)
    if ord(letter) in _SKIN_TONES or 0xE0000 <= ord(letter) <= 0xE007F:  # tags spell the flag of Scotland
        return True
    return unicodedata.category(letter) in ("So", "Co", "Cn") and letter not in _SPOKEN_SYMBOLS


def _with_spoken_addresses(text: str, language: str) -> str:
    """`https://www.example.com/a/b?c` → `example dot com`: nobody can follow the rest by ear."""
    dot, at = _DOTS.get(language, "."), _ATS.get(language, "@")

    def spoken(address: str) -> str:
        return re.sub(r"\s+", " ", address.replace(".", f" {dot} ").replace("@", f" {at} "))

    def host(found: re.Match[str]) -> str:
        link = found[0].strip("<>")
        name = re.sub(r"^(?:\w+://)?(?:www\.)?", "", link, flags=re.IGNORECASE)
        return spoken(re.split(r"[/?#:]", name, maxsplit=1)[0])

    text = _EMAIL.sub(lambda found: spoken(found[0]), text)
    text = _LINK.sub(host, text)
    return _BARE_DOMAIN.sub(lambda found: spoken(found[0]), text)
