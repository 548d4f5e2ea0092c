"""By which names and addresses this machine is reached."""

from __future__ import annotations

import socket

import psutil
import pytest

from server.machine_names import machine_names, network_address, own_hosts


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("Desk", ("desk", "desk.local")),
        ("desk.example.org", ("desk.example.org", "desk", "desk.local")),
        ("Desk.local", ("desk.local", "desk")),
    ],
)
def test_the_machines_names(monkeypatch: pytest.MonkeyPatch, name: str, names: tuple[str, ...]) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert machine_names() == names


@pytest.mark.parametrize("bound_to", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "voice.localhost"])
def test_on_loopback_there_are_no_further_names(bound_to: str) -> None:
    assert own_hosts(bound_to) == ()


def test_beyond_loopback_there_are() -> None:
    for bound_to in ("0.0.0.0", "::", "192.168.1.20"):
        assert own_hosts(bound_to) == machine_names()
    assert "voice.lan" in own_hosts("Voice.lan")


def test_the_networks_address_is_one_of_this_machines() -> None:
    address = network_address()
    own = {entry.address for interface in psutil.net_if_addrs().values() for entry in interface}
    assert address is None or address in own
    assert address is None or not address.startswith("127.")
