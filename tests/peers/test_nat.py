"""Calls into a network that translates addresses and lets through only the UDP ports that are configured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.namespaces import (
    PUBLIC,
    SERVER,
    SIGNALLING_PORT,
    Networks,
    Translation,
    inside,
    networks,
    refusal,
)
from tests.peers.one_side import called, served

URL = f"http://{PUBLIC}:{SIGNALLING_PORT}"


@pytest.fixture(scope="module")
def net() -> Iterator[Networks]:
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    with networks() as made:
        yield made


@pytest.mark.parametrize(
    ("translation", "udp_ports"),
    [("one to one", "40000"), ("one to one", "40000-40003"), ("published ports", "40000")],
)
def test_callers_hear_the_greeting_through_nat(
    net: Networks, translation: Translation, udp_ports: str
) -> None:
    net.translate(translation, udp_ports)
    with served(inside(net.server), SIGNALLING_PORT, udp_ports=udp_ports, advertised_addresses=[PUBLIC]):
        for outcome in called(URL, inside(net.caller), count=2):
            assert outcome["heard"], outcome
            assert f" {PUBLIC} 4000" in outcome["answer"]
            assert f" {SERVER} 4000" in outcome["answer"]


def test_one_of_several_advertised_addresses_is_enough(net: Networks) -> None:
    net.translate("one to one", "40000")
    addresses = ["198.51.100.10", PUBLIC, "2001:db8::10"]
    with served(inside(net.server), SIGNALLING_PORT, udp_ports="40000", advertised_addresses=addresses):
        (outcome,) = called(URL, inside(net.caller))
        assert outcome["heard"], outcome


@pytest.mark.parametrize("ice", [{"advertised_addresses": [PUBLIC]}, {"udp_ports": "40000"}], ids=str)
def test_neither_setting_is_enough_alone(net: Networks, ice: dict[str, Any]) -> None:
    """What the settings are for: the network is one that needs both."""
    net.translate("one to one", "40000")
    with served(inside(net.server), SIGNALLING_PORT, **ice):
        (outcome,) = called(URL, inside(net.caller), limit_s=3.0)
        assert not outcome["heard"]
        assert outcome["why"] == "The call did not connect in time."
