"""Mixtures of voices: how they are written, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from media.engines.kokoro_blend import blend_of
from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_pauses import pause_after_s
from media.engines.kokoro_voice_files import KokoroVoiceFiles
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES
from media.errors import ModelMissing, VoiceUnavailable


@pytest.mark.parametrize(
    ("written", "parts", "label"),
    [
        ("af_heart", [("af_heart", 1.0)], "Heart (female)"),
        ("af_heart+af_bella", [("af_heart", 0.5), ("af_bella", 0.5)], "Heart 50 %, Bella 50 %"),
        ("af_heart:0.7+af_bella:0.3", [("af_heart", 0.7), ("af_bella", 0.3)], "Heart 70 %, Bella 30 %"),
        # Only the proportions count.
        ("bm_george:3 + af_sky:1", [("bm_george", 0.75), ("af_sky", 0.25)], "George 75 %, Sky 25 %"),
        ("am_adam:2", [("am_adam", 1.0)], "Adam (male)"),
    ],
)
def test_a_mixture(written: str, parts: list[tuple[str, float]], label: str) -> None:
    blend = blend_of(written)
    assert [name for name, _ in blend.parts] == [name for name, _ in parts]
    assert [part for _, part in blend.parts] == pytest.approx([part for _, part in parts])
    assert blend.label == label


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("af_hart", r"no voice 'af_hart': did you mean af_heart\?"),
        ("", r"no voice ''"),
        ("af_heart+", r"no voice ''"),
        ("af_heart+af_bela", r"no voice 'af_bela': did you mean af_bella\?"),
        ("af_heart+af_heart", "names a voice twice"),
        ("af_heart:0.7+af_bella", "give one to each or to none"),
        ("af_heart:0+af_bella:1", "a number above 0"),
        ("af_heart:-1+af_bella:2", "a number above 0"),
        ("af_heart:nan+af_bella:2", "a number above 0"),
        ("af_heart:inf+af_bella:2", "a number above 0"),
        ("af_heart:x+af_bella:2", "has 'x'"),
        ("af_heart:+af_bella:2", "has ''"),
        ("+".join(VOICE_NAMES[:9]), "at most 8 voices"),
    ],
)
def test_what_is_no_mixture(written: str, says: str) -> None:
    with pytest.raises(VoiceUnavailable, match=says):
        blend_of(written)


def test_a_mixture_s_style_lies_between(tmp_path: Path) -> None:
    for number, name in enumerate(("af_heart", "af_bella")):
        styles = np.full((STYLE_ROWS, STYLE_WIDTH), number, np.float32)
        styles[7] += 10
        styles.tofile(tmp_path / f"{name}.bin")
    files = KokoroVoiceFiles(tmp_path)
    assert files.style("af_heart:0.7+af_bella:0.3", 1) == pytest.approx(np.full((1, 256), 0.3))
    assert files.style("af_heart+af_bella", 8) == pytest.approx(np.full((1, 256), 10.5))
    assert files.style("af_bella", 8) == pytest.approx(np.full((1, 256), 11.0))


def test_a_mixture_is_listed_where_it_is_offered_and_can_be_spoken_all_the_same() -> None:
    files = KokoroVoiceFiles(Path("none"), ["bf_emma+af_heart", "af_heart"])
    assert len(files.voices) == 55
    mixed = files.voices[-1]
    # It speaks what its first voice speaks.
    assert (mixed.name, mixed.language, mixed.unavailable) == ("bf_emma+af_heart", "en-gb", None)
    assert files.language_of("ef_dora+em_alex") == "es"
    with pytest.raises(VoiceUnavailable, match="did you mean"):
        KokoroVoiceFiles(Path("none"), ["af_heart+nobody"])


def test_what_was_fitted_for_two_voices_lies_between_them() -> None:
    bella, jessica, both = (
        pause_after_s(voice, "so.", 1.5) for voice in ("af_bella", "af_jessica", "af_bella+af_jessica")
    )
    assert both == pytest.approx((bella + jessica) / 2)
    norms = KokoroNorms()
    summary = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    statistics = norms.predict_from("af_bella+af_jessica", summary)
    assert len(statistics) == 88
    assert all(np.isfinite(values).all() for values in statistics)


def test_a_voice_whose_file_has_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"af_heart\.bin is truncated or damaged"):
        KokoroVoiceFiles(tmp_path).style("af_heart", 10)
