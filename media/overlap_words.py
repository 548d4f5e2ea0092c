"""What words over the assistant's voice want: nothing ("mm-hm", "right", "I see"), or the floor ("wait").

They are those of a transcript, also as transcribers write what has no spelling ("Mmm", "Uh-huh").
"""

from __future__ import annotations

import re

from media.overlap_verdict import Words

_HUMMED = r"m+|h+m+|m+h+m*|a+h+a*|o+h+|u+h+|u+m+|e+h+|h[ae]+h*|(?:ha)+|hu+h|a+|o+"
"""What is a word in no language, and much the same in all."""

_BACKCHANNELS = {
    "en": """yes|yeah|yah|yea|ya|yep|yup|right|all right|alright|okay|ok|k|sure|of course|exactly
        |absolutely|definitely|totally|indeed|true|i see|i know|i understand|i get it|got it|gotcha
        |good|great|cool|nice|fine|perfect|wow|really|interesting|wonderful|lovely|amazing
        |sounds good|makes sense|that's right|that's true|that's good|that's great|fair enough|go on
        |no way|oh my god|oh my|my god|thank you|thanks|well|so|you know""",
    "de": """ja|jap|jo|genau|richtig|stimmt|klar|okay|ok|gut|alles klar|na klar|ach so|achso
        |verstehe|ich verstehe|aha|echt|wirklich|super|toll|schön|natürlich|sicher|eben|ach|danke""",
    "es": """sí|si|vale|claro|ajá|ya|ya veo|bueno|bien|de acuerdo|entiendo|exacto|exactamente
        |por supuesto|okay|ok|muy bien|perfecto|verdad|en serio|qué bien|gracias|eso es""",
    "fr": """oui|ouais|d'accord|ok|okay|bien|bien sûr|ah bon|très bien|je vois|exactement|exact
        |voilà|c'est ça|parfait|entendu|vraiment|super|merci|tout à fait""",
    "it": """sì|si|certo|ok|okay|va bene|esatto|esattamente|già|capisco|ho capito|d'accordo|bene
        |perfetto|davvero|giusto|infatti|grazie|ecco""",
    "pt": """sim|tá|tá bom|está bem|certo|ok|okay|uhum|aham|claro|é|é verdade|entendi|entendo|exato
        |exatamente|bom|pois é|pois|perfeito|sério|obrigado|obrigada|isso""",
    "hi": """हाँ|हां|अच्छा|ठीक है|ठीक|जी|जी हाँ|सही|बिल्कुल|ओके|समझ गया|समझ गई""",
}
_DEMANDS = {
    "en": """stop|wait|no|nope|not|don't|what|when|why|who|where|how|hold|hang|quit|cancel|enough
        |pause|hello|help|sorry|excuse me|actually|never mind|next|back|skip|listen|can|could|please
        |tell|want|need""",
    "de": """stopp|stop|halt|warte|warten|moment|nein|nicht|was|wann|warum|wer|wo|wie|genug|pause
        |hallo|hilfe|entschuldigung|eigentlich|weiter|zurück|kannst|können|bitte""",
    "es": """para|espera|espere|momento|no|qué|cuándo|cuánto|por qué|quién|dónde|cómo|basta|hola
        |ayuda|perdona|perdón|oye|siguiente|atrás|puedes|puede|quiero|por favor""",
    "fr": """stop|arrête|arrêtez|attends|attendez|instant|non|pas|quoi|quand|combien|pourquoi|qui|où
        |comment|assez|allô|aide|pardon|excusez|suivant|retour|pouvez|peux|veux|s'il vous plaît""",
    "it": """stop|basta|ferma|fermati|aspetta|aspetti|momento|no|non|cosa|quando|quanto|perché|chi
        |dove|come|aiuto|scusa|scusi|avanti|indietro|puoi|può|voglio|per favore""",
    "pt": """para|pare|espera|espere|momento|não|quê|quando|quanto|por que|quem|onde|como|basta|alô
        |ajuda|desculpa|desculpe|próximo|volta|pode|quero|por favor""",
    "hi": """रुको|रुकिए|नहीं|मत|क्या|कब|क्यों|कौन|कहाँ|कैसे|कितना|कितने|बस|सुनो|मिनट|चाहिए|बताइए""",
}
"""Words that nobody says who only listens, nor does a transcriber make them up from a hum."""


def _phrases(listed: str) -> list[str]:
    return [re.escape(" ".join(phrase.split())) for phrase in listed.split("|")]


_NEXT_BACKCHANNEL = {
    language: [
        re.compile(rf"(?:{phrase})(?:[^\w']+|$)", re.IGNORECASE) for phrase in (*_phrases(listed), _HUMMED)
    ]
    for language, listed in _BACKCHANNELS.items()
}
"""One of them, and what parts it from the next."""
_DEMANDING = {
    language: re.compile(rf"(?<!\w)(?:{'|'.join(_phrases(listed))})(?!\w)", re.IGNORECASE)
    for language, listed in _DEMANDS.items()
}


def words_in(text: str, language: str | None) -> Words:
    """What a transcript's words want.

    Args:
        text: the transcript.
        language: its BCP-47 primary tag; None where nobody knows: then any of the languages will do.
    """
    said = text.replace("’", "'").strip(' .,!?…-"¡¿')
    if not said:
        return Words.NONE
    languages = [language] if language is not None else list(_NEXT_BACKCHANNEL)
    if not _NEXT_BACKCHANNEL.keys() >= set(languages):
        return Words.UNKNOWN
    if any(_only_backchannels(said, _NEXT_BACKCHANNEL[known]) for known in languages):
        return Words.BACKCHANNEL
    demanding = any(_DEMANDING[known].search(said) for known in languages)
    return Words.DEMAND if demanding else Words.OTHERS


def _only_backchannels(said: str, known: list[re.Pattern[str]]) -> bool:
    """Whether it is a row of them.

    One expression for all of it would try every way to read a row of "ha ha" or "oh my god", 2^n of them:
    transcribers write such rows of laughter, and the loop would stand still.
    """
    ends = {0}
    for begin in range(len(said)):
        if begin in ends:
            ends.update(match.end() for phrase in known if (match := phrase.match(said, begin)))
    return len(said) in ends
