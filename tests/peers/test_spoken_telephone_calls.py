"""Telephones that ask something: it is heard, and the answer, as the telephone heard it, is transcribed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from media.audio import SPEECH_RATE_HZ, concatenate, silence
from server.tls import own_certificate
from tests.peers.baresip_phone import Codec, Transport, baresip, microphone
from tests.peers.baresip_python_phone import baresip_python
from tests.peers.linphone import linphone
from tests.peers.phone_line import RTP_PORTS, Line, answering
from tests.peers.spoken_server import ANSWER
from tests.peers.voices import sound_error_rate, spoken, transcribed

pytestmark = [pytest.mark.models, pytest.mark.timeout(150)]

QUESTION = "Could you please tell me when the library opens?"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    certificate, key = map(str, own_certificate(tmp_path_factory.mktemp("certificate")))
    with answering(
        scripted=False,
        telephone={"greeting": "", "greeting_wait_s": 1, "greeting_delay_s": 0.3},
        tls_certificate=certificate,
        tls_key=key,
        answer_after_s=0.5,
    ) as answers:
        yield answers
        answers.server.until_free(RTP_PORTS)


@pytest.fixture(scope="module")
def question(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A microphone that hears it when the call has begun."""
    asked = spoken(models_dir, QUESTION, "bf_emma")
    return microphone(
        tmp_path_factory.mktemp("microphone"),
        concatenate([silence(1.5, SPEECH_RATE_HZ), asked], SPEECH_RATE_HZ),
    )


@pytest.mark.parametrize(
    ("codec", "by", "srtp"),
    [("PCMU", "udp", False), ("PCMA", "tcp", False), ("G722", "udp", True), ("opus", "tls", True)],
)
def test_baresip_is_answered(
    line: Line,
    question: Path,
    models_dir: Path,
    tmp_path: Path,
    codec: Codec,
    by: Transport,
    srtp: bool,
) -> None:
    line.server.forget()
    with baresip(tmp_path, question, codecs=(codec,), transport=by, srtp=srtp) as phone:
        phone.call(line.uri(by))
        line.server.until_heard(QUESTION)
        line.server.until_answered()
        phone.hang_up()
        heard = phone.heard()
    assert sound_error_rate(ANSWER, transcribed(models_dir, heard)) <= 0.15


def test_linphone_is_answered(line: Line, question: Path, models_dir: Path, tmp_path: Path) -> None:
    line.server.forget()
    with linphone(tmp_path / "phone", question, codec="PCMA", session_expires_s=4) as phone:
        phone.call(line.uri())
        line.server.until_heard(QUESTION)
        line.server.until_answered()
        phone.hang_up()
        heard = phone.quit()
    assert sound_error_rate(ANSWER, transcribed(models_dir, heard)) <= 0.15


def test_who_is_called_is_answered_after_a_hold(
    line: Line, question: Path, models_dir: Path, tmp_path: Path
) -> None:
    line.server.forget()
    with baresip_python(tmp_path, codec="opus") as phone:
        call_id = line.server.place(phone.uri)
        phone.until("established")
        line.server.until_record(call_id, state="answered")
        phone.order("hold")
        phone.until("agreed")
        phone.order("resume")
        phone.until("agreed")
        phone.order("say", str(question))
        line.server.until_heard(QUESTION)
        line.server.until_answered()
        phone.hang_up()
        heard = phone.heard()
    assert sound_error_rate(ANSWER, transcribed(models_dir, heard)) <= 0.15
