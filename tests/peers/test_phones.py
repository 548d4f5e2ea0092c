"""Telephones, as they are published, and the server: calls both ways, keys, transfers, a registrar and proxy.

The server's engines are scripted here: nobody listens. Spoken calls are in `test_spoken_telephone_calls`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from media.audio import SPEECH_RATE_HZ, silence
from server.tls import own_certificate
from tests.peers.baresip_phone import Codec, Transport, baresip, microphone
from tests.peers.baresip_python_phone import baresip_python
from tests.peers.kamailio import PASSWORD, Kamailio, kamailio
from tests.peers.linphone import linphone
from tests.peers.phone_line import RTP_PORTS, Line, answering
from tests.peers.phone_programs import free_sip_port
from tests.peers.spoken_server import PRESSES

pytestmark = pytest.mark.timeout(120)


COLLEAGUE_PORT = free_sip_port()
COLLEAGUE = f"sip:colleague@127.0.0.1:{COLLEAGUE_PORT}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For 127.0.0.1, and its key."""
    return own_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def line(certificate: tuple[Path, Path]) -> Iterator[Line]:
    """Nothing is left of any call in the end."""
    chain, key = map(str, certificate)
    with answering(
        answer_after_s=0.5,  # baresip-python takes no note of what is answered at once
        tls_certificate=chain,
        tls_key=key,
        tls_ca=chain,
        telephone={"transfer_targets": [{"name": "colleague", "to": COLLEAGUE}]},
    ) as answers:
        yield answers
        answers.server.until_free(RTP_PORTS)


@pytest.mark.parametrize("by", ["udp", "tcp", "tls"])
def test_a_phone_calls_presses_keys_and_is_hung_up_on(line: Line, tmp_path: Path, by: Transport) -> None:
    line.server.forget()
    with baresip(tmp_path, transport=by, srtp=by == "tls") as phone:
        phone.call(line.uri(by))
        phone.until("CALL_RTPESTAB")
        phone.press("1*#")
        line.server.until_pressed("1*#")
        phone.press("9#")
        line.server.until_pressed("9#")
        phone.until("CALL_CLOSED")
    line.server.until_ended()


@pytest.mark.parametrize("by", ["udp", "tcp", "tls"])
def test_a_phone_is_called_and_keys_are_pressed(
    line: Line, tmp_path: Path, certificate: tuple[Path, Path], by: Transport
) -> None:
    line.server.forget()
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(path.read_bytes() for path in certificate))
    with baresip(tmp_path / "phone", transport=by, answers=False, certificate=both) as phone:
        call_id = line.server.place(phone.uri)
        phone.until("CALL_INCOMING")
        line.server.until_record(call_id, state="ringing")
        phone.accept()
        line.server.until_record(call_id, state="answered")
        phone.until("CALL_RTPESTAB")
        phone.press("7#")
        for digit in PRESSES:
            phone.until("CALL_DTMF_START", param=digit)
        line.server.hang_up(call_id)
        phone.until("CALL_CLOSED")
    assert line.server.until_record(call_id, state="ended")["outcome"] == "completed"


def test_a_phone_declines(line: Line, tmp_path: Path) -> None:
    with baresip(tmp_path, answers=False) as phone:
        call_id = line.server.place(phone.uri)
        phone.until("CALL_INCOMING")
        phone.command("hangup")
        record = line.server.until_record(call_id, state="ended")
    assert record["outcome"] in ("busy", "refused")


@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus"])
def test_a_call_is_put_on_hold_and_taken_up_again(line: Line, tmp_path: Path, codec: Codec) -> None:
    with baresip_python(tmp_path, codec=codec, srtp=codec == "G722", digits_by="info") as phone:
        phone.call(line.uri())
        phone.until_it_hears()
        phone.order("hold")
        phone.order("resume")
        line.server.forget()
        phone.order("press", "7#")
        line.server.until_pressed("7#")
        phone.until_it_hears()
        phone.hang_up()


def test_a_caller_is_transferred(line: Line, tmp_path: Path) -> None:
    line.server.forget()
    with (
        baresip(tmp_path / "colleague", user="colleague", port=COLLEAGUE_PORT) as colleague,
        baresip(tmp_path / "caller") as caller,
    ):
        caller.call(line.uri())
        caller.until("CALL_RTPESTAB")
        caller.press("0#")
        colleague.until("CALL_ESTABLISHED")
        line.server.until_ended()
        caller.command("hangup")
        colleague.until("CALL_CLOSED")


def test_a_refreshed_call_outlives_its_interval(line: Line, tmp_path: Path) -> None:
    speech = microphone(tmp_path, silence(0.1, SPEECH_RATE_HZ))
    with linphone(tmp_path / "phone", speech, session_expires_s=4) as phone:
        phone.call(line.uri())
        phone.running.until(lambda: phone.sip().count("Session-Expires: 4") > 4, "no refreshes")
        line.server.forget()
        phone.press("3")
        line.server.until_pressed("3")
        phone.hang_up()


def test_linphone_is_called_and_hears(line: Line, tmp_path: Path) -> None:
    speech = microphone(tmp_path, silence(0.1, SPEECH_RATE_HZ))
    with linphone(tmp_path / "phone", speech, codec="opus", srtp=True) as phone:
        call_id = line.server.place(phone.uri)
        phone.until_called()
        phone.until_it_hears()
        phone.hold()
        phone.resume()
        line.server.hang_up(call_id)
        phone.until_ended()


# A registrar and proxy


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, Kamailio]]:
    """The server is registered as `voice`; calls to `assistant` are dispatched to it."""
    port = free_sip_port()
    with kamailio(tmp_path_factory.mktemp("kamailio"), assistant_port=port) as proxy:
        account = {"uri": proxy.uri("voice"), "password": PASSWORD, "outbound_proxy": proxy.uri("")}
        with answering(port=port, accounts=[account], access={"networks": []}) as answers:
            proxy.until_passed("REGISTER", user="voice", times=2)
            yield answers, proxy


@pytest.mark.parametrize(("name", "by"), [("voice", "udp"), ("voice", "tcp"), ("assistant", "udp")])
def test_a_registered_phone_calls_by_way_of_the_proxy(
    proxied: tuple[Line, Kamailio], tmp_path: Path, name: str, by: Transport
) -> None:
    line, proxy = proxied
    line.server.forget()
    with baresip(tmp_path, registrar=proxy, transport=by) as phone:
        phone.call(proxy.uri(name, "" if by == "udp" else by))
        phone.until("CALL_RTPESTAB")
        for command in ("hold", "resume"):
            phone.command(command)
            phone.until("CALL_REMOTE_SDP", param="answer")
        phone.press("9#")
        line.server.until_pressed("9#")
        phone.until("CALL_CLOSED")
        proxy.until_passed("BYE", user=name)
    line.server.until_ended()


def test_a_registered_phone_is_called_by_way_of_the_proxy(
    proxied: tuple[Line, Kamailio], tmp_path: Path
) -> None:
    line, proxy = proxied
    with baresip(tmp_path, user="bob", registrar=proxy) as phone:
        call_id = line.server.place(proxy.uri("bob"))
        phone.until("CALL_ESTABLISHED")
        phone.until("CALL_RTPESTAB")
        phone.hang_up()
        assert line.server.until_record(call_id, state="ended")["outcome"] == "completed"
        proxy.until_passed("INVITE", user="voice")


def test_nobody_is_registered_there(proxied: tuple[Line, Kamailio]) -> None:
    line, proxy = proxied
    record = line.server.until_record(line.server.place(proxy.uri("nobody")), state="ended")
    assert (record["outcome"], record["sip_status"]) == ("unreachable", 404)
