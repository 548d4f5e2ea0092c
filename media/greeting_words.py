"""Whose words a greeting has: an answering machine's, or a person's. English; of other languages a few."""

from __future__ import annotations

import re
from typing import Literal

_MACHINE = (
    r"(?:leave|record) (?:\w+ ){0,3}(?:message|name|number)",
    r"(?:after|at|following) the (?:tone|beep|signal)",
    r"(?:you've|you have|you) reached",
    r"voice ?mail|mail ?box|answering (?:machine|service)",
    r"(?:not|n't|unable|can ?not) (?:\w+ ){0,3}(?:take|answer|get to|come to) (?:\w+ ){0,2}(?:call|phone)",
    r"(?:is|am|are|'re|'m) (?:not available|unavailable|not at home|away from)",
    r"(?:not|n't|nobody is|no one is) (?:\w+ ){0,3}available",
    r"(?:get|call|calling|ring) (?:\w+ ){0,2}back (?:to you )?(?:as soon|later|shortly|soon)",
    r"(?:person|number|subscriber|customer) you(?:'re| are|'ve| have)? (?:call|dial|trying)",
    r"forwarded to",
    r"(?:thank you|thanks) for calling\b.*\b(?:press|closed|hours|menu|options|extension)",
    r"(?:for|to) \w+(?: \w+){0,4},? press",
    r"when you(?:'re| are)? (?:finished|done|have finished)|hang up or press",
    # German, Spanish, French.
    r"nach dem (?:signal)?ton|hinterlassen sie|nicht erreichbar|anrufbeantworter|mailbox",
    r"deje (?:su|un) mensaje|despu[eé]s (?:del|de la) (?:tono|señal)|buz[oó]n de voz",
    r"laisse[rz] (?:un|votre) message|apr[eè]s le (?:bip|signal)|messagerie",
)
_HUMAN = (
    r"(?:how|what) (?:can|may) (?:i|we) (?:help|do)",
    r"can i help you|help you\W*$",
    r"who(?:'s| is) (?:this|there|calling|speaking)",
    r"(?:this is \w+(?: \w+)?|\w+) speaking\W*$",
    r"^\W*(?:hello|hi|hey|yes|yeah|yep)\W*(?:hello|hi|hey|yes|who|what)?\W*$",
    r"what do you want|can you hear me|is (?:anybody|anyone|somebody) there",
)
_MACHINES = re.compile("|".join(_MACHINE), re.IGNORECASE | re.DOTALL)
_HUMANS = re.compile("|".join(_HUMAN), re.IGNORECASE)


def whose_greeting(words: str) -> Literal["human", "machine"] | None:
    """Who says this, as far as the words alone tell; None where they do not."""
    text = " ".join(words.replace("’", "'").split())
    if _MACHINES.search(text):
        return "machine"
    return "human" if _HUMANS.search(text) else None
