"""From words to Kokoro's phonemes, and whose phonemes are whose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.engines.g2p import pronounce, unavailable
from media.engines.kokoro_vocabulary import TOKEN_IDS, token_ids
from media.engines.kokoro_voices import LANGUAGES
from media.engines.word_alignment import share_out

BASE_LANGUAGES = ("en-us", "en-gb", "es", "fr", "hi", "it", "pt-br")


def phonemes_of(text: str, language: str) -> str:
    return "".join(word.phonemes for word in pronounce(text, language))


@pytest.mark.parametrize(
    ("language", "text", "phonemes"),
    [
        ("en-us", "Hello world!", "həlˈO wˈɜɹld!"),
        ("en-us", "a better boy", "ɐ bˈɛTəɹ bˈY"),
        ("en-us", "I am about an hour late", "ˌI ɐm əbˌWt ɐn ˈWəɹ lˈAt"),
        ("en-us", "the button", "ðə bˈʌtᵊn"),
        ("en-us", "the apple", "ðɪ ˈæpᵊl"),
        ("en-us", "a tourist", "ɐ tˈʊɹɪst"),
        ("en-gb", "Go there, boy.", "ɡˌQ ðˈɛː, bˈY."),
        ("es", "¿Cómo estás?", "kˈomo estˈas?"),
        ("fr", "les amis", "lez amˈi"),
        ("it", "Ciao, ragazzi", "ʧˈao, raɡˈaʦːɪ"),
        ("pt-br", "São Paulo", "sɐ̃ʊ̃ pˈWlʊ"),
        ("hi", "नमस्ते।", "nəmˈʌsteː."),
    ],
)
def test_phonemes(language: str, text: str, phonemes: str) -> None:
    assert phonemes_of(text, language) == phonemes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("25 of the apples", ["25", "of", "the", "apples"]),
        ('He said: "No — really..."', ["He", "said:", '"No —', 'really..."']),
        ("(so) it is.", ["(so)", "it", "is."]),
        ("water of the lake", ["water", "of", "the", "lake"]),
    ],
)
def test_words_keep_their_text_and_have_sounds_of_their_own(text: str, words: list[str]) -> None:
    for language in ("en-us", "en-gb"):
        pronounced = pronounce(text, language)
        assert [word.text for word in pronounced] == words
        assert all(any(phoneme.isalpha() for phoneme in word.phonemes) for word in pronounced)


def test_a_number_s_phonemes_are_all_its_own() -> None:
    phonemes = {word.text: word.phonemes for word in pronounce("25 of the apples", "en-us")}
    assert phonemes["25"] == "twˈɛnti fˈIv "
    assert phonemes["of"] == "ʌv "


def test_a_linking_r_stays_with_its_word() -> None:
    assert [word.phonemes for word in pronounce("water of life", "en-gb")][:2] == ["wˈɔːtəɹ ", "ɒv "]


@pytest.mark.parametrize("text", ["", "  ", "…", "😀", "— ?!", "***"])
def test_nothing_to_say(text: str) -> None:
    assert pronounce(text, "en-us") == []


@pytest.mark.parametrize("language", BASE_LANGUAGES)
@settings(deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_gives_phonemes_that_kokoro_knows(language: str, text: str) -> None:
    phonemes = phonemes_of(text, language)
    assert all(phoneme in TOKEN_IDS for phoneme in phonemes)
    assert len(token_ids(phonemes)) == len(phonemes)


def test_the_vocabulary_is_kokoro_s() -> None:
    assert len(TOKEN_IDS) == len(set(TOKEN_IDS.values())) == 114
    assert max(TOKEN_IDS.values()) == 177


def test_which_languages_can_be_spoken() -> None:
    assert set(BASE_LANGUAGES) == set(LANGUAGES.values()) - {"ja", "zh"}
    assert all(unavailable(language) is None for language in BASE_LANGUAGES)
    assert unavailable("tlh") == "There is no pronunciation for the language 'tlh'."


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert unavailable("ja") == "It needs an extra: pip install 'voxtral-kokoro[ja]'."
    assert unavailable("en-us") == "It needs espeak-ng: pip install espeakng-loader."


@pytest.mark.parametrize(
    ("sentence", "alone", "parts"),
    [
        ("ʌvðə mæn", ["ʌv", "ðə", "mæn"], ["ʌv", "ðə", "mæn"]),
        ("twɛnti faɪv mɛn", ["twɛnti faɪv", "mɛn"], ["twɛnti faɪv", "mɛn"]),
        ("wɔːtəɹ ɒv laɪf", ["wɔːtə", "ɒv", "laɪf"], ["wɔːtəɹ", "ɒv", "laɪf"]),
        ("a b", ["a", "", "b"], ["a", "", "b"]),
        ("", ["", ""], ["", ""]),
    ],
)
def test_share_out(sentence: str, alone: list[str], parts: list[str]) -> None:
    assert share_out(sentence, alone) == parts


@settings(deadline=None)
@given(st.lists(st.text("abc", max_size=5), min_size=1, max_size=6), st.text("abc ", max_size=20))
def test_share_out_loses_nothing(alone: list[str], sentence: str) -> None:
    parts = share_out(sentence, alone)
    assert len(parts) == len(alone)
    assert "".join(parts).replace(" ", "") == sentence.replace(" ", "")
