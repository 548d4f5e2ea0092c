"""The binding to espeak-ng, on the real library."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import espeakng_loader
import pytest

from media.engines.espeak import Espeak, espeak
from media.errors import EngineError

ROOT = Path(__file__).resolve().parents[3]


def test_phonemes_are_ipa_with_stress_and_ties() -> None:
    assert espeak().phonemes("hello boy", "gmw/en-US") == "həlˈo^ʊ bˈɔ^ɪ"


def test_language_flags_are_taken_out() -> None:
    assert espeak().phonemes("weekend", "roa/fr") == "wiːkˈɛnd"


def test_nothing_to_say() -> None:
    assert espeak().phonemes("", "roa/es") == ""
    assert espeak().phonemes("\0", "roa/es") == ""


def test_unknown_voice() -> None:
    with pytest.raises(EngineError, match="no voice 'gmw/xx'"):
        espeak().phonemes("hello", "gmw/xx")
    assert espeak().phonemes("hola", "roa/es") == "ˈola"


def test_several_threads_with_several_voices() -> None:
    expected = {"gmw/en-US": "həlˈo^ʊ", "roa/es": "ˈola", "roa/fr": "bɔ̃ʒˈuʁ"}
    texts = {"gmw/en-US": "hello", "roa/es": "hola", "roa/fr": "bonjour"}
    wrong: list[str] = []

    def speak(voice: str) -> None:
        wrong.extend(
            phonemes
            for _ in range(50)
            if (phonemes := espeak().phonemes(texts[voice], voice)) != expected[voice]
        )

    threads = [threading.Thread(target=speak, args=(voice,)) for voice in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_missing_library(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="install the package espeakng-loader"):
        Espeak(tmp_path / "libespeak-ng.so", Path(espeakng_loader.get_data_path()))


def said_in_a_new_process(data: Path) -> str:
    """A process that has found its data keeps it, so each of these tests has one of its own."""
    script = (
        "import sys; from pathlib import Path; from media.engines.espeak import Espeak, EngineError\n"
        "try: print(Espeak(Path(sys.argv[1]), Path(sys.argv[2])).phonemes('ciao', 'roa/it'))\n"
        "except EngineError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, espeakng_loader.get_library_path(), str(data)]
    environment = {"PYTHONIOENCODING": "utf-8", "PATH": ""}
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, encoding="utf-8", timeout=60
    ).stdout.strip()


def test_missing_data(tmp_path: Path) -> None:
    said = said_in_a_new_process(tmp_path / "nothing")
    assert said == (
        f"espeak-ng cannot be used, it finds no data in {tmp_path / 'nothing'}: "
        "install the package espeakng-loader again."
    )


def test_a_long_path_to_the_data(tmp_path: Path) -> None:
    """espeak-ng itself refuses a path of more than 160 bytes."""
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    data = deep / "espeak-ng-data"
    data.symlink_to(espeakng_loader.get_data_path())
    assert said_in_a_new_process(data) == "t^ʃˈao"
