"""Calls into a network that translates addresses and lets through only the UDP ports that are configured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.peers.in_namespace import READY
from tests.peers.namespaces import (
    PUBLIC,
    ROOT,
    SERVER,
    SIGNALLING_PORT,
    Networks,
    Translation,
    networks,
    python_in,
    refusal,
)

CALL_LIMIT_S = 20.0


@pytest.fixture(scope="module")
def net() -> Iterator[Networks]:
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    with networks() as made:
        yield made


@contextmanager
def server(net: Networks, **ice: Any) -> Iterator[None]:
    arguments = ("-m", "tests.peers.in_namespace", "serve", str(SIGNALLING_PORT), json.dumps(ice))
    process = subprocess.Popen(
        python_in(net.server, *arguments),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == READY
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=30) == 0


def call(net: Networks, count: int = 1, limit_s: float = CALL_LIMIT_S) -> list[dict[str, Any]]:
    """So many calls at once, and what became of each."""
    url = f"http://{PUBLIC}:{SIGNALLING_PORT}"
    arguments = ("-m", "tests.peers.in_namespace", "call", url, str(count), str(limit_s))
    done = subprocess.run(
        python_in(net.caller, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=3 * limit_s + 30,
    )
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    return outcomes


@pytest.mark.parametrize(
    ("translation", "udp_ports"),
    [("one to one", "40000"), ("one to one", "40000-40003"), ("published ports", "40000")],
)
def test_callers_hear_the_greeting_through_nat(
    net: Networks, translation: Translation, udp_ports: str
) -> None:
    net.translate(translation, udp_ports)
    with server(net, udp_ports=udp_ports, advertised_addresses=[PUBLIC]):
        for outcome in call(net, count=2):
            assert outcome["heard"], outcome
            assert f" {PUBLIC} 4000" in outcome["answer"]
            assert f" {SERVER} 4000" in outcome["answer"]


def test_one_of_several_advertised_addresses_is_enough(net: Networks) -> None:
    net.translate("one to one", "40000")
    addresses = ["198.51.100.10", PUBLIC, "2001:db8::10"]
    with server(net, udp_ports="40000", advertised_addresses=addresses):
        (outcome,) = call(net)
        assert outcome["heard"], outcome


@pytest.mark.parametrize("ice", [{"advertised_addresses": [PUBLIC]}, {"udp_ports": "40000"}], ids=str)
def test_neither_setting_is_enough_alone(net: Networks, ice: dict[str, Any]) -> None:
    """What the settings are for: the network is one that needs both."""
    net.translate("one to one", "40000")
    with server(net, **ice):
        (outcome,) = call(net, limit_s=3.0)
        assert not outcome["heard"]
        assert outcome["why"] == "The call did not connect in time."
