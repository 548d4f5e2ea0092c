"""Which part of a sentence's phonemes belongs to which of its words.

Phonemes are made of whole sentences, since words change each other (`the` before a vowel, liaison), and come
back in other pieces than the words that went in: `25` is two, `of the` is one. So the words' own phonemes,
each made alone, are laid beside the sentence's.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate, pairwise

_SNAP_SOUNDS = 1


def share_out(sentence: str, alone: Sequence[str]) -> list[str]:
    """Cuts a sentence's phonemes into one part for each word.

    Args:
        sentence: phonemes, with a space between what was spoken as separate words.
        alone: for each written word its phonemes when it stands alone.

    Returns:
        One part for each word, without surrounding spaces; a part may hold spaces, and may be empty where
        a word left no trace.
    """
    sounds = sentence.replace(" ", "")
    words_sounds = [word.replace(" ", "") for word in alone]
    ends = _counterparts("".join(words_sounds), sounds, list(accumulate(map(len, words_sounds))))
    gaps = list(accumulate(map(len, sentence.split(" "))))
    ends = [_snapped(end, gaps) for end in ends]
    with_spaces = _positions_with_spaces(sentence)
    cuts = [0, *(with_spaces[end] for end in ends[:-1]), len(sentence)]
    return [sentence[start:end].strip() for start, end in pairwise(cuts)]


def _counterparts(source: str, target: str, positions: list[int]) -> list[int]:
    """Where positions in one string lie in another that is nearly the same."""
    blocks = SequenceMatcher(None, source, target, autojunk=False).get_opcodes()
    found: list[int] = []
    for position in positions:
        for _, start, end, target_start, target_end in blocks:
            if start <= position <= end and end > start:
                share = (position - start) / (end - start)
                found.append(target_start + round(share * (target_end - target_start)))
                break
        else:
            found.append(len(target) if position else 0)
    return found


def _snapped(end: int, gaps: list[int]) -> int:
    """A cut next to a gap between spoken words belongs into the gap: a linking r goes with its word."""
    nearest = min(gaps, key=lambda gap: abs(gap - end))
    return nearest if abs(nearest - end) <= _SNAP_SOUNDS else end


def _positions_with_spaces(sentence: str) -> list[int]:
    """For each count of sounds, where in the sentence they have all been passed, spaces included."""
    return [index for index, letter in enumerate(sentence) if letter != " "] + [len(sentence)]
