"""Which words of a spoken reply were heard, when it is cut."""

from __future__ import annotations

from dataclasses import dataclass, field

from media.engines.protocols import SpokenWord


@dataclass(slots=True)
class SpokenClause:
    """A clause as written, and where its sound lies in its response.

    Attributes:
        text: as the LLM wrote it, white space included.
        start_s: of its first sample.
        spoken_words: how many words it is spoken in (numbers are written out …).
        words: those whose time is known so far, in seconds from the clause's first sample.
        end_s: of its last sample so far.
        complete: all of its sound is made.
    """

    text: str
    start_s: float
    spoken_words: int
    words: list[SpokenWord] = field(default_factory=list)
    end_s: float = 0.0
    complete: bool = False

    def heard_text(self, heard_s: float) -> str:
        """The words whose greater part was heard. Exact where written and spoken words agree in number,
        else in proportion: "$5" is one word written and two spoken."""
        if self.complete and heard_s >= self.end_s:
            return self.text
        written = self.text.split()
        if not self.words or not self.spoken_words:
            share = (heard_s - self.start_s) / max(1e-6, self.end_s - self.start_s) if self.complete else 0.0
            return " ".join(written[: round(max(0.0, share) * len(written))])
        spoken = sum(self.start_s + (word.start_s + word.end_s) / 2 <= heard_s for word in self.words)
        return " ".join(written[: round(spoken * len(written) / self.spoken_words)])


def heard_text(clauses: list[SpokenClause], heard_s: float) -> str:
    """What was heard of a reply after `heard_s` seconds of its sound."""
    begun = [clause.heard_text(heard_s) for clause in clauses if clause.start_s < heard_s]
    return " ".join(text.strip() for text in begun if text.strip())


def word_start_s(clauses: list[SpokenClause], at_s: float) -> float:
    """Where the word that sounds at this time of a reply began; the same time where none does."""
    for clause in clauses:
        for word in clause.words:
            if clause.start_s + word.start_s < at_s < clause.start_s + word.end_s:
                return clause.start_s + word.start_s
    return at_s
