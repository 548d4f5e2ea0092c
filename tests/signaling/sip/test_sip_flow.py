"""Where requests go within a call, whose far side may not be where it says."""

from __future__ import annotations

import pytest

from signaling.sip.dialog_requests import flow_to
from signaling.sip.fields import parse_uri
from signaling.sip.hop import Hop, Transport

PUBLIC, PRIVATE = "8.8.8.8", "192.168.1.20"


@pytest.mark.parametrize(
    ("contact", "seen", "transport", "connected", "follows"),
    [
        ("sip:a@192.168.1.5", PUBLIC, Transport.UDP, True, True),
        ("sip:a@192.168.1.5", PUBLIC, Transport.UDP, False, True),
        ("sip:a@192.168.1.5", PRIVATE, Transport.UDP, True, False),
        ("sip:a@9.9.9.9", PUBLIC, Transport.UDP, True, False),
        (f"sip:a@{PUBLIC}", PUBLIC, Transport.UDP, True, False),
        ("sip:a@100.64.3.4", PUBLIC, Transport.UDP, True, True),
        ("sip:a@phone.example.org", PUBLIC, Transport.UDP, True, False),
        ("sip:a@9.9.9.9;transport=tcp", PUBLIC, Transport.TCP, True, True),
        ("sip:a@9.9.9.9;transport=tcp", PUBLIC, Transport.TCP, False, False),
        ("sip:a@10.0.0.9;transport=tcp", PUBLIC, Transport.TCP, False, True),
        ("sip:a@[fd00::1]", "2606:4700::1", Transport.UDP, True, True),
    ],
)
def test_a_far_side_is_reached_where_it_was_seen(
    contact: str, seen: str, transport: Transport, connected: bool, follows: bool
) -> None:
    hop = Hop(transport, seen, 5060)
    assert (flow_to(parse_uri(contact), hop, connected=connected) == hop) is follows
