"""Cutting long clauses into runs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from media.engines.g2p import PronouncedWord
from media.engines.kokoro_runs import runs_of, word_spans
from media.engines.kokoro_vocabulary import MAX_TOKENS


def words(count: int, phonemes: str = "wˈɜɹd ") -> list[PronouncedWord]:
    return [PronouncedWord("word", phonemes) for _ in range(count)]


def test_a_short_clause_is_one_run() -> None:
    assert [run.words for run in runs_of(words(5))] == [tuple(words(5))]
    assert list(runs_of([])) == []


def test_a_long_text_is_cut_at_its_best_mark() -> None:
    text = [
        *words(50),
        PronouncedWord("end.", "ˈɛnd. "),
        *words(20),
        PronouncedWord("so,", "sˈO, "),
        *words(60),
    ]
    first, second = runs_of(text)
    assert first.words[-1].text == "end."
    assert second.words[0].text == "word"


def test_spans_leave_the_marks_out() -> None:
    assert word_spans([PronouncedWord('"so,', '"sˈO, '), PronouncedWord("it", "ɪt")]) == [(1, 3), (6, 7)]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["ɪt ", "sˈO, ", "ˈɛnd. ", "a" * 700]), max_size=200))
def test_runs_hold_everything_in_order(phonemes: list[str]) -> None:
    text = [PronouncedWord(f"w{index}", part) for index, part in enumerate(phonemes)]
    runs = list(runs_of(text))
    assert all(0 < len(run.token_ids) <= MAX_TOKENS for run in runs)
    assert "".join(word.phonemes for run in runs for word in run.words) == "".join(phonemes)
    assert [word.text for run in runs for word in run.words if word.text] == [word.text for word in text]


def test_a_word_longer_than_a_run_after_others_is_cut_twice() -> None:
    words = [PronouncedWord("a", "ɪt ")] * 100 + [PronouncedWord("long", "a" * 700)]
    assert all(0 < len(run.token_ids) <= MAX_TOKENS for run in runs_of(words))
