"""Dialogs, without a network: tags, routes, numbers, targets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import URI, Request, Response

from signaling.sip.dialog import Dialog, DialogId, OutOfOrder, dialog_id, glare_wait_s
from signaling.sip.errors import BadMessage
from signaling.sip.fields import parse_uri

RNG = random.Random(1)
ROUTES = "<sip:p1.example.org;lr>, <sip:p2.example.org:5070;transport=tcp;lr>"


def invite(**headers: str) -> Request:
    request = Request("INVITE", parse_uri("sip:bob@192.0.2.2"))
    for name, value in {
        "From": '"Alice" <sip:alice@example.org>;tag=a',
        "To": "<sip:bob@example.com>",
        "Call-ID": "c@x",
        "CSeq": "7 INVITE",
        "Contact": "<sip:alice@192.0.2.1:5062;transport=tcp>",
        **headers,
    }.items():
        request.headers.set(name.replace("_", "-"), value)
    return request


def accepted(to_tag: str = "b", **headers: str) -> Response:
    response = Response(200, "OK")
    for name, value in {
        "To": f"<sip:bob@example.com>;tag={to_tag}",
        "Contact": "<sip:bob@192.0.2.2>",
        **headers,
    }.items():
        response.headers.set(name.replace("_", "-"), value)
    return response


def test_both_sides_have_the_same_dialog() -> None:
    sent = invite(Record_Route=ROUTES)
    uas = Dialog.called(sent, "b", RNG)
    uac = Dialog.calling(sent, accepted(Record_Route=ROUTES))
    assert uas.id == DialogId("c@x", "b", "a")
    assert uac.id == DialogId("c@x", "a", "b")
    assert dialog_id(uac.request("BYE")) == uas.id
    assert dialog_id(uas.request("BYE")) == uac.id
    assert uas.route_set == tuple(reversed(uac.route_set))
    assert uas.next_hop.host == "p1.example.org"
    assert uac.next_hop.host == "p2.example.org"


def test_requests_go_to_the_contact_by_the_routes() -> None:
    dialog = Dialog.called(invite(Record_Route=ROUTES), "b", RNG)
    first, second = dialog.request("INFO", b"x"), dialog.request("BYE")
    assert first.uri == parse_uri("sip:alice@192.0.2.1:5062;transport=tcp")
    assert first.headers.getlist("Route") == ROUTES.split(", ")
    assert first.headers["From"] == "<sip:bob@example.com>;tag=b"
    assert first.headers["To"] == '"Alice" <sip:alice@example.org>;tag=a'
    assert second.cseq.sequence == first.cseq.sequence + 1


def test_a_strict_router_becomes_the_request_uri() -> None:
    """RFC 3261, 12.2.1.1."""
    routes = "<sip:strict.example.org>, <sip:loose.example.org;lr>"
    dialog = Dialog.called(invite(Record_Route=routes), "b", RNG)
    request = dialog.request("BYE")
    assert request.uri == parse_uri("sip:strict.example.org")
    assert request.headers.getlist("Route") == [
        "<sip:loose.example.org;lr>",
        "<sip:alice@192.0.2.1:5062;transport=tcp>",
    ]
    assert dialog.next_hop.host == "strict.example.org"


def test_the_ack_has_the_invites_number_and_credentials() -> None:
    sent = invite(Authorization="Digest x=y")
    dialog = Dialog.calling(sent, accepted())
    dialog.request("INFO")
    ack = dialog.ack(sent)
    assert str(ack.cseq) == "7 ACK"
    assert ack.headers["Authorization"] == "Digest x=y"
    assert ack.uri == parse_uri("sip:bob@192.0.2.2")


def in_dialog(number: int, method: str = "INFO", **headers: str) -> Request:
    request = invite(CSeq=f"{number} {method}", **headers)
    request.method = method
    return request


def test_requests_come_in_order() -> None:
    dialog = Dialog.called(invite(), "b", RNG)
    dialog.received(in_dialog(8))
    dialog.received(in_dialog(20))  # gaps are fine
    dialog.received(in_dialog(20, "ACK"))
    with pytest.raises(OutOfOrder):
        dialog.received(in_dialog(19))
    dialog.received(in_dialog(21))


def test_the_callers_numbers_begin_anywhere() -> None:
    dialog = Dialog.calling(invite(), accepted())
    dialog.received(in_dialog(100))
    with pytest.raises(OutOfOrder):
        dialog.received(in_dialog(99))


@pytest.mark.parametrize(("method", "moves"), [("INVITE", True), ("UPDATE", True), ("INFO", False)])
def test_who_moves_says_so_in_an_invite_or_an_update(method: str, moves: bool) -> None:
    for dialog in (Dialog.called(invite(), "b", RNG), Dialog.calling(invite(), accepted())):
        before = dialog.target
        dialog.received(in_dialog(9, method, Contact="<sip:alice@198.51.100.1>"))
        assert (dialog.target.host == "198.51.100.1") is moves
        request = dialog.request(method)
        dialog.answered(request, accepted(Contact="<sip:x@203.0.113.5>"))
        assert (dialog.target.host == "203.0.113.5") is moves
        assert moves or dialog.target == before


def test_no_contact_no_dialog() -> None:
    no_contact = invite()
    no_contact.headers.remove("Contact")
    with pytest.raises(BadMessage):
        Dialog.called(no_contact, "b", RNG)
    answer = accepted()
    answer.headers.remove("Contact")
    with pytest.raises(BadMessage):
        Dialog.calling(invite(), answer)


def test_a_far_side_without_tags() -> None:
    """RFC 3261, 12.1.1: of RFC 2543's time."""
    dialog = Dialog.called(invite(From="<sip:old@example.org>"), "b", RNG)
    assert dialog.id.remote_tag == ""
    assert (
        dialog_id(in_dialog(8, From="<sip:old@example.org>", To="<sip:bob@example.com>;tag=b")) == dialog.id
    )


@given(st.integers(), st.booleans())
def test_after_glare_both_wait_differently(seed: int, owner: bool) -> None:
    waits_s = glare_wait_s(owner, random.Random(seed))
    assert (2.1 <= waits_s <= 4.0) if owner else (0.0 <= waits_s <= 2.0)
    assert round(waits_s * 100) == pytest.approx(waits_s * 100)


def test_uris_are_what_they_were() -> None:
    assert Dialog.called(invite(), "b", RNG).target == URI.parse("sip:alice@192.0.2.1:5062;transport=tcp")
