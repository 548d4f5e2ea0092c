"""A small binding to espeak-ng: text in, IPA out.

espeak-ng is GPL-3. It is no part of this project: the library and its data come with the separately
installed package `espeakng-loader` and are loaded when the first clause wants them.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import espeakng_loader

from media.errors import EngineError

TIE = "^"
"""Joins the letters of one phoneme in what `Espeak.phonemes` returns: `a^ɪ`."""

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_PHONEMES_IPA = 0x02
_PHONEMES_TIE = 0x80
_TIE_SHIFT = 8
_OK = 0

_DATA_PATH_LIMIT_BYTES = 120
"""espeak-ng copies the path of its data, with file names appended, into buffers of 160 bytes."""

_LANGUAGE_FLAG = re.compile(r"\([^()]*\)")
"""Where espeak changes the language for a foreign word it says so: `(en)wˈiːkɛnd(fr)`."""


class Espeak:
    """The library, loaded. It has one global state, hence one lock; a clause takes well under a millisecond.

    Raises:
        EngineError: the library cannot be loaded, or does not find its data.
    """

    def __init__(self, library: Path, data: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise _unusable(f"the library cannot be loaded ({error})") from error
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_TextToPhonemes.argtypes = [
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int,
            ctypes.c_int,
        ]
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self._lock = threading.Lock()
        self._voice: str | None = None
        rate_hz = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, self._within_limit(data), _INITIALIZE_DONT_EXIT
        )
        if rate_hz <= 0:
            raise _unusable(f"it finds no data in {data}")

    def phonemes(self, text: str, voice: str) -> str:
        """The IPA of some words, with stress marks and `TIE`s; words are separated by spaces.

        The number of words may differ from the text's: numbers become several, `of the` becomes one.

        Args:
            text: without punctuation that matters: espeak drops it.
            voice: the file of an espeak voice: `gmw/en-US`.

        Raises:
            EngineError: espeak has no such voice.
        """
        with self._lock:
            self._set_voice(voice)
            # The library moves this pointer on, a clause at a time, and sets it to null at the end.
            rest = ctypes.c_char_p(text.replace("\0", " ").encode())
            clauses: list[str] = []
            while rest.value is not None:
                clause = self._library.espeak_TextToPhonemes(
                    ctypes.byref(rest),
                    _CHARS_UTF8,
                    _PHONEMES_IPA | _PHONEMES_TIE | ord(TIE) << _TIE_SHIFT,
                )
                clauses.append((clause or b"").decode())
        return " ".join(_LANGUAGE_FLAG.sub("", " ".join(clauses)).split())

    def _set_voice(self, voice: str) -> None:
        if voice == self._voice:
            return
        if self._library.espeak_SetVoiceByName(voice.encode()) != _OK:
            self._voice = None
            raise EngineError(f"espeak-ng has no voice {voice!r}: install the package espeakng-loader again.")
        self._voice = voice

    def _within_limit(self, data: Path) -> bytes:
        """The data's path, by way of a link in the temporary directory where it is too long."""
        path = str(data).encode()
        if len(path) <= _DATA_PATH_LIMIT_BYTES:
            return path
        directory = tempfile.mkdtemp(prefix="espeak")
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        link = Path(directory) / "espeak-ng-data"
        link.symlink_to(data)
        return str(link).encode()


@functools.cache
def espeak() -> Espeak:
    """The one of this process, loaded by the first call (some 10 ms).

    Raises:
        EngineError: as `Espeak`.
    """
    try:
        return Espeak(Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path()))
    except RuntimeError as error:  # the loader's own, when its data directory is gone
        raise _unusable(str(error)) from error


def _unusable(why: str) -> EngineError:
    return EngineError(f"espeak-ng cannot be used, {why}: install the package espeakng-loader again.")
