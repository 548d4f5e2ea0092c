"""Texts of lines with something changed in them: dropped, doubled, cut, said otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from tests.fuzz.json_texts import WORDS

Fault: TypeAlias = Literal["drop", "double", "swap", "token", "cut", "insert", "fold", "nonsense"]


@dataclass(frozen=True)
class Spoiling:
    """How a protocol's texts are spoilt.

    Attributes:
        lines: that are put in where they do not belong.
        tokens: that stand where others should.
        token: what is one.
        faults: as often as they are to come.
        endings: of lines, likewise.
        ends: whether the last line has an ending, too.
    """

    lines: Sequence[str]
    tokens: Sequence[str]
    token: re.Pattern[str]
    faults: Sequence[Fault]
    endings: Sequence[str]
    ends: bool

    def of(self, texts: Sequence[str]) -> st.SearchStrategy[str]:
        """One of the texts with some of its lines changed."""
        return _spoilt(self, texts)


@st.composite
def _spoilt(draw: st.DrawFn, how: Spoiling, texts: Sequence[str]) -> str:
    text = draw(st.sampled_from(texts))
    lines = text.splitlines() if how.ends else text.split("\r\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        match draw(st.sampled_from(how.faults)) if lines else "nonsense":
            case "drop":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "token":
                lines[at] = draw(_other_token(how, lines[at]))
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, 20))]
            case "insert":
                lines.insert(at, draw(st.sampled_from(how.lines)))
            case "fold":
                lines[at] = lines[at].replace(" ", "\r\n ")
            case _:
                lines.insert(at, draw(WORDS))
    text = draw(st.sampled_from(how.endings)).join([*lines, ""] if how.ends else lines)
    return text if draw(st.integers(0, 9)) else text[: draw(st.integers(0, len(text)))]


@st.composite
def _other_token(draw: st.DrawFn, how: Spoiling, line: str) -> str:
    found = list(how.token.finditer(line))
    if not found:
        return line
    token = draw(st.sampled_from(found))
    return line[: token.start()] + draw(st.sampled_from(how.tokens)) + line[token.end() :]
