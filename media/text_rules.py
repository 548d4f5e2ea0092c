"""Rules that rewrite text: a pattern and what takes the place of each match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """What is rewritten, wherever it occurs, and a template for `re.sub` or a function of the match."""

    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def rule(pattern: str, replacement: str | Callable[[re.Match[str]], str], flags: int = 0) -> Rule:
    return Rule(re.compile(pattern, flags), replacement)


def rewritten(text: str, rules: Iterable[Rule]) -> str:
    """The text after each rule in turn."""
    for each in rules:
        text = each.pattern.sub(each.replacement, text)
    return text


def any_of(words: Iterable[str]) -> str:
    """A pattern for one of some words, the longest that fits."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
