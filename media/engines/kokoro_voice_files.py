"""Kokoro's voices on disk, as every backend of it reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from media.engines.g2p import unavailable
from media.engines.kokoro_blend import Blend, blend_of
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES, language_of
from media.engines.model_files import damaged, require_files
from media.engines.protocols import Voice
from media.errors import VoiceUnavailable

_STYLE_ROW_BYTES = STYLE_WIDTH * 4


class KokoroVoiceFiles:
    """The 54 voices, and the mixtures that are offered beside them.

    Args:
        directory: holds `NAME.bin` of each of the 54 voices: float32, one style of 256 for each of the 510
            lengths that a clause can have.
        blends: mixtures to be listed (see `kokoro_blend`); others can be spoken all the same.

    Raises:
        VoiceUnavailable: a mixture is none.
    """

    def __init__(self, directory: Path, blends: Sequence[str] = ()) -> None:
        self._directory = directory
        offered = dict.fromkeys((*VOICE_NAMES, *blends))
        self._voices = {name: _voice(name, blend_of(name)) for name in offered}

    @property
    def voices(self) -> tuple[Voice, ...]:
        return tuple(self._voices.values())

    def require(self) -> None:
        """Looks whether all files are there and whole.

        Raises:
            ModelMissing: one is not.
        """
        files = [self._file(name) for name in VOICE_NAMES]
        require_files(*files)
        for file in files:
            if file.stat().st_size != STYLE_ROWS * _STYLE_ROW_BYTES:
                raise damaged(file)

    def language_of(self, voice: str) -> str:
        """What a voice or a mixture speaks, as a BCP-47 tag.

        Raises:
            VoiceUnavailable: it is unknown, or cannot speak here.
        """
        known = self._voices.get(voice) or _voice(voice, blend_of(voice))
        if known.unavailable:
            raise VoiceUnavailable(f"The voice {known.name} cannot speak here. {known.unavailable}")
        return known.language

    def style(self, voice: str, tokens: int) -> npt.NDArray[np.float32]:
        """The style for a clause of so many tokens, (1, 256): 1 KiB of a file that the page cache holds.

        Raises:
            ModelMissing: the voice's file has gone since the start.
        """
        parts = [np.float32(part) * self._row(name, tokens) for name, part in blend_of(voice).parts]
        style: npt.NDArray[np.float32] = np.sum(parts, axis=0, dtype=np.float32).reshape(1, STYLE_WIDTH)
        return style

    def _row(self, voice: str, tokens: int) -> npt.NDArray[np.float32]:
        file = self._file(voice)
        try:
            return np.fromfile(file, np.float32, STYLE_WIDTH, offset=(tokens - 1) * _STYLE_ROW_BYTES)
        except OSError as error:
            raise damaged(file) from error

    def _file(self, voice: str) -> Path:
        return self._directory / f"{voice}.bin"


def _voice(name: str, blend: Blend) -> Voice:
    language = language_of(blend.first)
    return Voice(name, language, blend.label, unavailable(language))
