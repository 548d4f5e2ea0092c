"""WebRTC stacks other than our own, against the real server: sound goes both ways, and is transcribed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.audio_file import read_audio, write_wav
from media.opus import RTP_RATE_HZ, OpusSettings, opus_decoder, opus_encoder
from media.resampler import resample
from signaling.heard import HeardFrame, recording
from tests.peers.npm_clients import npm_folder
from tests.peers.spoken_server import ANSWER, ROOT, SpokenServer, spoken_server
from tests.peers.voices import sound_error_rate, spoken, transcribed

pytestmark = [pytest.mark.models, pytest.mark.timeout(120)]

QUESTION = "Could you please tell me when the library opens?"
CALL_LIMIT_S = 30.0
FRAME_SAMPLES = 960


@pytest.fixture(scope="module")
def server() -> Iterator[SpokenServer]:
    with spoken_server(speech_to_speech={"greeting": ""}) as running:
        yield running


@pytest.fixture(scope="module")
def question(models_dir: Path) -> Audio:
    said = spoken(models_dir, QUESTION, "bf_emma")
    parts = [silence(0.5, SPEECH_RATE_HZ), said, silence(0.5, SPEECH_RATE_HZ)]
    return resample(concatenate(parts, SPEECH_RATE_HZ), RTP_RATE_HZ)


def test_libwebrtc(server: SpokenServer, question: Audio, models_dir: Path, tmp_path: Path) -> None:
    """Chrome's stack, from PyPI."""
    microphone, heard = tmp_path / "question.wav", tmp_path / "heard.wav"
    write_wav(microphone, question)
    call(server, sys.executable, "-m", "tests.peers.wrtc_caller", server.url, microphone, heard)
    require_answer(models_dir, read_audio(heard))


def test_roamhq_wrtc_in_node(server: SpokenServer, question: Audio, models_dir: Path, tmp_path: Path) -> None:
    microphone, heard = tmp_path / "question.pcm", tmp_path / "heard.pcm"
    microphone.write_bytes(question.as_int16().tobytes())
    call_from_node(server, "@roamhq/wrtc", microphone, heard)
    samples = np.frombuffer(heard.read_bytes(), np.int16)
    require_answer(models_dir, Audio(samples, RTP_RATE_HZ))


def test_werift_in_node(server: SpokenServer, question: Audio, models_dir: Path, tmp_path: Path) -> None:
    """It has no codecs: it is given packets, and gives packets."""
    microphone, heard = tmp_path / "question.opus", tmp_path / "heard.opus"
    microphone.write_bytes(b"".join(packets(question)))
    call_from_node(server, "werift", microphone, heard)
    require_answer(models_dir, recording(list(frames(heard.read_bytes())), RTP_RATE_HZ))


def call(server: SpokenServer, *command: str | Path) -> None:
    """Makes a call, of which the question must be heard; then it has its end."""
    server.forget()
    subprocess.run(command, cwd=ROOT, check=True, timeout=CALL_LIMIT_S)
    server.until_heard(QUESTION)


def call_from_node(server: SpokenServer, stack: str, microphone: Path, heard: Path) -> None:
    folder, node = npm_folder(), shutil.which("node")
    assert node is not None, "npm needs it itself"
    script = ROOT / "tests" / "peers" / "npm" / "stack_caller.mjs"
    call(server, node, script, stack, folder, server.url, microphone, heard)


def require_answer(models_dir: Path, heard: Audio) -> None:
    said = transcribed(models_dir, resample(heard, SPEECH_RATE_HZ))
    assert sound_error_rate(ANSWER, said) <= 0.2, said


def packets(audio: Audio) -> Iterator[bytes]:
    """Opus packets of 20 ms, each behind its length."""
    encoder, samples = opus_encoder(OpusSettings()), audio.as_int16()
    for start in range(0, len(samples) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        payload = encoder.encode(samples[start : start + FRAME_SAMPLES])
        yield len(payload).to_bytes(2, "little") + payload


def frames(data: bytes) -> Iterator[HeardFrame]:
    """What Opus packets hold, each behind its RTP time and its length. Empty ones are signs of life."""
    decoder, at = opus_decoder(RTP_RATE_HZ), 0
    while at < len(data):
        position = int.from_bytes(data[at : at + 4], "little")
        start, end = at + 6, at + 6 + int.from_bytes(data[at + 4 : at + 6], "little")
        yield HeardFrame(0.0, position, Audio(decoder.decode(data[start:end]), RTP_RATE_HZ))
        at = end
