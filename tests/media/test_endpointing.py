"""How long a pause may last: verdicts, words and the caller's habit, as tables."""

from __future__ import annotations

import pytest

from media.endpointing import LONGEST, Endpointer
from media.unfinished import finished_log_odds, is_lone_digit

PATIENCE_S = 0.33
LONGEST_S = LONGEST * PATIENCE_S


def weighed(
    *verdicts: float, text: str = "Book a room", language: str | None = "en", patience_s: float = PATIENCE_S
) -> float:
    """The wait for one pause."""
    endpointer = Endpointer(patience_s)
    judge(endpointer, *verdicts, text=text, language=language)
    return endpointer.wait_s


def judge(
    endpointer: Endpointer, *verdicts: float, text: str = "Book a room", language: str | None = "en"
) -> None:
    """A pause begins, and both witnesses speak."""
    endpointer.paused()
    for verdict in verdicts:
        endpointer.sounded(verdict)
    endpointer.said(text, language)


@pytest.mark.parametrize(
    ("verdict", "at_least_s", "at_most_s"),
    [
        (1.0, 0.33, 0.33),
        (0.98, 0.33, 0.33),
        (0.9, 0.33, 0.4),
        (0.5, 0.42, 0.55),  # a verdict that says nothing: a request may end like that
        (0.1, 0.6, 0.72),  # where most short requests end that do not sound complete
        (0.03, 0.7, 0.75),
        (0.02, 0.9, LONGEST_S),
        (0.0, LONGEST_S, LONGEST_S),
    ],
)
def test_the_surer_the_engine_the_shorter_the_wait(
    verdict: float, at_least_s: float, at_most_s: float
) -> None:
    assert at_least_s <= weighed(verdict) <= at_most_s + 1e-9


def test_more_certainty_never_waits_longer() -> None:
    waits = [weighed(step / 100) for step in range(101)]
    assert waits == sorted(waits, reverse=True)


def test_no_turn_ends_before_both_have_spoken() -> None:
    endpointer = Endpointer(PATIENCE_S)
    endpointer.paused()
    assert endpointer.wait_s == LONGEST_S
    endpointer.sounded(0.99)
    assert endpointer.wait_s == LONGEST_S, "the words are still missing"
    endpointer.said("Book a room", "en")
    assert endpointer.wait_s == PATIENCE_S
    endpointer.paused()
    endpointer.said("Book a room", "en")
    assert endpointer.wait_s == LONGEST_S, "of this pause, nothing was judged yet"


def test_verdicts_on_one_pause_are_weighed_together() -> None:
    assert weighed(0.02) > weighed(0.02, 0.9) > weighed(0.02, 0.9, 0.9) > weighed(0.9)


def test_who_is_sure_is_not_asked_again() -> None:
    endpointer = Endpointer(PATIENCE_S)
    endpointer.paused()
    assert not endpointer.is_sure
    endpointer.sounded(0.5)
    assert not endpointer.is_sure
    endpointer.sounded(0.999)
    assert not endpointer.is_sure, "one of two was not"
    endpointer.paused()
    endpointer.sounded(0.97)
    assert endpointer.is_sure


@pytest.mark.parametrize("patience_s", [0.2, 0.33, 0.6])
def test_one_setting_scales_every_wait(patience_s: float) -> None:
    for verdict in (0.02, 0.1, 0.5, 0.98):
        assert weighed(verdict, patience_s=patience_s) == pytest.approx(
            weighed(verdict) * patience_s / PATIENCE_S
        )


@pytest.mark.parametrize(
    "text",
    [
        "I would like to",
        "Send it to my",
        "And then, um",
        "Well,",
        "Let me think...",
        "because",
        "The number is 5 5 5 0 1",
        "1 0 0 1",
        "five oh two",
        "1 0001",
        "0171",
        "My number is 5550123",
        "1,0001",
        "B, O, X",
        "It is V-O-X",
        "Let me think about",
        "What I want is",
        "I was",
        "I want to I want to",
    ],
)
def test_words_that_are_open_are_waited_for(text: str) -> None:
    assert finished_log_odds(text, "en") < 0
    assert weighed(0.9, text=text) > 1.2 * weighed(0.9)


@pytest.mark.parametrize(
    "text",
    [
        "Half an hour.",
        "Go forward 10 meters.",
        "It was in 1999",
        "At 2:30",
        "I paid 1,000",
        "It costs 2.05",
        "At 9:05",
        "About 1,250,000",
        "10 30",
        "Five five",
        "Today",
        "Turn the lights on.",
        "Log in",
        "Who are you talking to?",
        "What is it for?",
        "Tell me where it is.",
        "He is older than she was.",
        "Yes, I do.",
        "No, it isn't",
        "Ask Mr. Smith for 2. 30.",
        "Half an hour half an",  # what a transcriber makes of the silence behind it
    ],
)
def test_words_that_may_be_all_say_nothing(text: str) -> None:
    assert finished_log_odds(text, "en") == 0


@pytest.mark.parametrize("text", ["No.", "I think so", "Not really", "I want some of that"])
def test_words_that_may_stand_alone_say_less(text: str) -> None:
    assert finished_log_odds("Take the", "en") < finished_log_odds(text, "en") < 0


def test_a_long_row_of_numbers_is_weighed_at_once() -> None:
    row = "1.5, " * 200
    assert (
        finished_log_odds(row, "en") < finished_log_odds(row + "and", "en") == finished_log_odds("The", "en")
    )


def test_an_end_that_begins_the_turn_again_was_not_said() -> None:
    assert finished_log_odds("Book a room. Book a", "en") == 0
    assert finished_log_odds("Book a room. And a", "en") < finished_log_odds("Book a room. Book a", "en")


def test_who_has_said_several_sentences_may_say_another() -> None:
    news = ("Here is the news.", "Trains come late.", "Rain comes soon.", "Nobody minds.")
    one, two, three, four = (finished_log_odds(" ".join(news[:said]), "en") for said in (1, 2, 3, 4))
    assert 0 == one > two > three == four
    assert finished_log_odds("你好。我想订房。", "zh") == two
    assert finished_log_odds("Here is the news. That is all, thanks.", "en") > 0


@pytest.mark.parametrize(
    ("text", "spoken_s", "log_odds"),
    [
        ("Book a room for two people please and tell nobody", 3.0, 0.0),
        ("Montreal", 0.9, 0.0),  # one long word
        ("This one Montreal", 2.0, -2.1),
        ("Well this", 4.0, -6.0),
        ("1455", 1.6, 0.0),  # four words, about
        ("", 3.0, 0.0),
    ],
)
def test_few_words_for_their_time_are_waited_for(text: str, spoken_s: float, log_odds: float) -> None:
    assert finished_log_odds(text, "en", spoken_s) == pytest.approx(log_odds)
    assert finished_log_odds(text, "de", spoken_s) == 0, "how fast other languages are is not known"


@pytest.mark.parametrize("text", ["That is all, thanks.", "Goodbye!", "One more, please"])
def test_words_that_close_a_conversation_are_for_the_end(text: str) -> None:
    assert finished_log_odds(text, "en") > 0


def test_a_dictated_number_is_waited_for_however_complete_it_sounds() -> None:
    assert weighed(0.99, text="1 0 0 1") == LONGEST_S
    assert weighed(0.99, text="10 of clubs") == PATIENCE_S


def test_after_a_lone_digit_another_may_follow() -> None:
    assert weighed(0.99) < weighed(0.99, text="1.") == weighed(0.5, text="One") < LONGEST_S / 2
    assert weighed(0.0, text="One") == LONGEST_S
    assert not any(map(is_lone_digit, ("", "12", "One way", "5 5", "1st")))


@pytest.mark.parametrize(
    ("text", "language", "log_odds"),
    [
        ("Ich möchte der", "de", 0.0),  # no word list for German
        ("the", None, 0.0),
        ("Ich möchte,", "de", -3.0),
        ("我想订…", "zh", -3.0),
        ("Es la 5 5 5 1", "es", -10.0),
        ("", "en", 0.0),
    ],
)
def test_in_other_languages_punctuation_and_numbers_count(
    text: str, language: str | None, log_odds: float
) -> None:
    assert finished_log_odds(text, language) == log_odds


# The caller's habit


def test_who_paused_within_a_turn_is_given_longer() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.0)
    endpointer.resumed(0.6)
    assert endpointer.habit_s == pytest.approx(0.6)
    judge(endpointer, 0.99)
    assert 0.6 < endpointer.wait_s < 1.3


def test_who_was_cut_short_and_went_on_is_given_longer() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.99)
    endpointer.resumed(1.2)
    judge(endpointer, 0.99)
    assert endpointer.wait_s == pytest.approx(3 * PATIENCE_S), "it may have been an interruption"


def test_articulation_is_no_pause() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.5)
    endpointer.resumed(0.15)
    assert endpointer.habit_s == 0


def test_a_pause_that_everybody_makes_changes_nothing() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.5)
    endpointer.resumed(0.22)
    judge(endpointer, 0.99)
    assert endpointer.wait_s == PATIENCE_S


def test_who_answers_a_reply_did_not_pause() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.99)
    endpointer.resumed(4.0)
    assert endpointer.habit_s == 0


def test_whose_turn_was_taken_up_did_not_pause_however_soon_they_go_on() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.99)
    endpointer.taken_up()
    endpointer.resumed(1.2)
    assert endpointer.habit_s == 0
    judge(endpointer, 0.99)
    endpointer.resumed(1.2)
    assert endpointer.habit_s > 0.4, "of a later pause, that says nothing"


def test_a_habit_that_is_not_shown_again_fades_within_a_few_turns() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.0)
    endpointer.resumed(2.0)
    waits = []
    for _ in range(5):
        judge(endpointer, 0.99)
        waits.append(endpointer.wait_s)
        endpointer.resumed(5.0)
    assert waits[0] == pytest.approx(6 * PATIENCE_S), "it stretches the wait at most so far"
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == PATIENCE_S


def test_no_habit_waits_beyond_the_longest() -> None:
    endpointer = Endpointer(PATIENCE_S)
    judge(endpointer, 0.0)
    endpointer.resumed(2.4)
    judge(endpointer, 0.0)
    assert endpointer.wait_s == LONGEST_S
