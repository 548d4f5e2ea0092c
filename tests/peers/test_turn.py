"""Calls into a network that lets no UDP through, by way of a TURN server, coturn, at its border."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.peers.chromium import open_page, take_recording, until_event, until_quiet
from tests.peers.namespaces import PUBLIC, ROUTER, SIGNALLING_PORT, Networks, inside, networks, refusal
from tests.peers.one_side import called, served

URL = f"http://{PUBLIC}:{SIGNALLING_PORT}"
TURN_PORT = 3478
CLOSED_PORT = "40000"
"""The router's rules want one; nobody is there."""
TURN = {"urls": [f"turn:{ROUTER}:{TURN_PORT}"], "username": "caller", "credential": "of-this-test"}
STARTING_LIMIT_S = 10.0

RELAY_ONLY = """
const Plain = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Plain {
  constructor(configuration) {
    super({ ...configuration, iceTransportPolicy: "relay" });
    window.peer = this;
  }
};
"""
WAY_TAKEN = """
async () => {
  const stats = await window.peer.getStats();
  const all = [...stats.values()];
  const { selectedCandidatePairId } = all.find(({ type }) => type === "transport");
  return stats.get(stats.get(selectedCandidatePairId).localCandidateId).candidateType;
}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Networks]:
    if shutil.which("turnserver") is None:
        pytest.skip("not installed: coturn")
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    with networks() as made, turn_server(made):
        made.translate("published ports", CLOSED_PORT)
        yield made


@contextmanager
def turn_server(net: Networks) -> Iterator[None]:
    """coturn, on the router's public side. It can be reached once the block begins."""
    options = [
        *("--listening-ip", ROUTER, "--relay-ip", ROUTER, "--listening-port", str(TURN_PORT)),
        *("--lt-cred-mech", "--realm", "test", "--user", f"{TURN['username']}:{TURN['credential']}"),
        *("--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout", "--pidfile", ""),
    ]
    command = [*inside(net.router), "turnserver", "-n", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until_listening(net, process)
            yield
        finally:
            process.terminate()


def _until_listening(net: Networks, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + STARTING_LIMIT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        sockets = subprocess.run(
            [*inside(net.router), "ss", "-Hlun", "sport", "=", str(TURN_PORT)],
            capture_output=True,
            text=True,
            check=True,
        )
        if ROUTER in sockets.stdout:
            return
    raise AssertionError("coturn does not listen")


def test_a_synthetic_caller_hears_the_greeting(net: Networks) -> None:
    with served(inside(net.server), SIGNALLING_PORT, servers=[TURN]):
        (outcome,) = called(URL, inside(net.caller))
    assert outcome["heard"], outcome
    assert f" {ROUTER} " in outcome["answer"]
    assert " typ relay" in outcome["answer"]


def test_without_it_there_is_no_way(net: Networks) -> None:
    with served(inside(net.server), SIGNALLING_PORT):
        (outcome,) = called(URL, inside(net.caller), limit_s=3.0)
    assert not outcome["heard"]


@pytest.mark.browser
def test_a_page_that_may_use_nothing_else_hears_the_greeting(net: Networks) -> None:
    with (
        served(inside(net.server), SIGNALLING_PORT, servers=[TURN]),
        open_page(URL, within=inside(net.caller)) as page,
    ):
        page.add_init_script(RELAY_ONLY)
        page.reload()
        page.click("#text-only-button")
        until_event(page, "output_audio_buffer.started")
        assert page.evaluate(WAY_TAKEN) == "relay"
        until_event(page, "output_audio_buffer.stopped")
        until_quiet(page)
        heard, _ = take_recording(page)
    assert heard.level_dbfs() > -40
