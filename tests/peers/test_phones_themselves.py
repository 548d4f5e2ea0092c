"""The phones against each other: so that what fails against the server is the server's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from tests.peers.baresip_phone import Codec, Transport, baresip, microphone
from tests.peers.baresip_python_phone import baresip_python
from tests.peers.kamailio import kamailio
from tests.peers.linphone import linphone
from tests.peers.sipp import played, sipp

TONE_HZ = 440


def tone(duration_s: float) -> Audio:
    t = np.arange(round(duration_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    return Audio((8000 * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.int16), SPEECH_RATE_HZ)


@pytest.mark.parametrize(
    ("codec", "srtp"), [("PCMU", False), ("PCMA", True), ("G722", False), ("opus", True)]
)
def test_baresip_calls_baresip(tmp_path: Path, codec: Codec, srtp: bool) -> None:
    with (
        baresip(tmp_path / "a", microphone(tmp_path, tone(30)), codecs=(codec,), srtp=srtp) as alice,
        baresip(tmp_path / "b", codecs=(codec,), user="bob", srtp=srtp) as bob,
    ):
        alice.call(bob.uri)
        bob.until("CALL_ESTABLISHED")
        alice.press("1#")
        bob.until("CALL_DTMF_START", param="1")
        bob.until("CALL_DTMF_START", param="#")
        alice.hang_up()
        bob.until("CALL_CLOSED")
        heard = bob.heard()
    assert heard.level_dbfs() > -30


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_baresip_calls_baresip_through_kamailio(tmp_path: Path, transport: Transport) -> None:
    with (
        kamailio(tmp_path / "proxy") as proxy,
        baresip(tmp_path / "a", registrar=proxy, transport=transport) as alice,
        baresip(tmp_path / "b", user="bob", registrar=proxy, transport=transport) as bob,
    ):
        alice.call(proxy.uri("bob"))
        bob.until("CALL_RTPESTAB")
        alice.command("hold")
        bob.until("CALL_REMOTE_SDP", param="offer")
        alice.command("resume")
        bob.until("CALL_REMOTE_SDP", param="offer")
        alice.press("5")
        bob.until("CALL_DTMF_START", param="5")
        alice.hang_up()
        bob.until("CALL_CLOSED")
        proxy.until_passed("BYE")


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_linphone_calls_baresip_through_kamailio(tmp_path: Path, codec: Codec) -> None:
    speech = microphone(tmp_path, tone(30))
    with (
        kamailio(tmp_path / "proxy") as proxy,
        linphone(tmp_path / "l", speech, codec=codec, registrar=proxy) as caller,
        baresip(tmp_path / "b", speech, codecs=(codec,), user="bob", registrar=proxy) as bob,
    ):
        caller.call(proxy.uri("bob"))
        bob.until("CALL_RTPESTAB")
        if codec != "opus":  # for which linphone sends keys at 48 kHz, and baresip knows 8 kHz only
            caller.press("7")
            bob.until("CALL_DTMF_START", param="7")
        caller.until_it_hears()
        caller.hold()
        caller.resume()
        caller.hang_up()
        bob.until("CALL_CLOSED")
        heard = caller.quit()
    assert heard.level_dbfs() > -30


def test_sipp_calls_baresip(tmp_path: Path) -> None:
    with baresip(tmp_path / "b", codecs=("PCMU",), user="bob") as bob:
        scenario = played(tmp_path / "s", "calls", bob.port, service="bob")
        bob.until("CALL_CLOSED")
    assert scenario.counts().successful == 1


def test_baresip_calls_sipp(tmp_path: Path) -> None:
    with baresip(tmp_path / "b") as alice, sipp(tmp_path / "s", "is_called") as called:
        alice.call(called.uri)
        alice.hang_up()
        called.until_done()


def test_a_scenario_that_does_not_go_as_written_fails(tmp_path: Path) -> None:
    with baresip(tmp_path / "b", srtp=True) as bob, pytest.raises(AssertionError, match="488"):
        played(tmp_path / "s", "calls", bob.port, service="alice")


@pytest.mark.parametrize(("codec", "srtp"), [("G722", True), ("opus", False)])
def test_baresip_python_calls_baresip(tmp_path: Path, codec: Codec, srtp: bool) -> None:
    speech = microphone(tmp_path, tone(30))
    with (
        baresip(tmp_path / "b", speech, codecs=(codec,), user="bob", srtp=srtp) as bob,
        baresip_python(tmp_path / "p", codec=codec, srtp=srtp) as carol,
    ):
        carol.call(bob.uri)
        carol.until_it_hears()
        carol.order("say", str(speech))
        carol.order("hold")
        bob.until("CALL_REMOTE_SDP", param="offer")
        carol.order("resume")
        carol.until_it_hears()
        carol.order("press", "4")
        bob.until("CALL_DTMF_START", param="4")
        bob.press("6")
        assert carol.until("digit") == "6"
        carol.hang_up()
        bob.until("CALL_CLOSED")
        assert carol.heard().level_dbfs() > -30
