"""SIP messages and their header fields: what is understood, what is refused, what is made."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import Request, Response

from signaling.sip.errors import BadMessage
from signaling.sip.fields import (
    format_address,
    format_uri,
    parse_address,
    parse_auth,
    parse_cseq,
    parse_uri,
    parse_via,
    split_list,
    split_parameters,
)
from signaling.sip.messages import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    ack_to,
    call_id,
    cancel_of,
    contact,
    cseq,
    first_route,
    from_tag,
    mark_source,
    new_branch,
    new_tag,
    parse,
    raw_list,
    response_to,
    serialise,
    to_tag,
    top_via,
)
from tests.signaling.sip.sip_texts import request_text


def parsed(data: bytes) -> Request:
    request = parse(data)
    assert isinstance(request, Request)
    return request


# Header fields


@pytest.mark.parametrize(
    ("text", "scheme", "user", "host", "port"),
    [
        ("sip:alice@example.org", "sip", "alice", "example.org", None),
        ("SIP:alice@pbx1:5070", "sip", "alice", "pbx1", 5070),
        ("sips:my_host", "sips", None, "my_host", None),
        ("sip:a%20b@[2001:db8::1]:5061;transport=tls", "sip", "a b", "[2001:db8::1]", 5061),
        ("sip:*97@10.0.0.1?Replaces=1%40x", "sip", "*97", "10.0.0.1", None),
        ("sip:+4930;phone-context=de@gw", "sip", "+4930;phone-context=de", "gw", None),
        ("sip:alice:secret@h", "sip", "alice", "h", None),
        ("tel:+49-30-123;ext=5", "tel", "+49-30-123", "", None),
        ("sip:a@h;self=1;lr", "sip", "a", "h", None),
    ],
)
def test_addresses_that_are_understood(
    text: str, scheme: str, user: str | None, host: str, port: int | None
) -> None:
    uri = parse_uri(text)
    assert (uri.scheme, uri.user, uri.host, uri.port) == (scheme, user, host, port)
    assert parse_uri(format_uri(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://example.org",
        "sip:",
        "sip:a@",
        "sip:a@h:0",
        "sip:a@h:65536",
        "sip:a@h:٣",
        "sip:a b@h",
        "sip:a@h h",
        "sip:a@h<",
        "tel:",
        "*",
    ],
)
def test_addresses_that_are_not(text: str) -> None:
    with pytest.raises(BadMessage):
        parse_uri(text)


def test_what_an_address_is_written_with() -> None:
    assert format_uri(parse_uri("sip:a*b@h;gr=urn:uuid:1;ob;x=%3b")) == "sip:a*b@h;gr=urn:uuid:1;ob;x=%3B"
    text = format_address(parse_uri("sip:a@h"), 'A "B" \\', {"tag": "1*2", "lr": None})
    assert text == '"A \\"B\\" \\\\" <sip:a@h>;tag=1*2;lr'
    address = parse_address(text)
    assert (address.name, dict(address.parameters)) == ('A "B" \\', {"tag": "1*2", "lr": None})


def test_names_with_accents_and_semicolons() -> None:
    address = parse_address('"Bøb; <x>, y" <sip:b@h;lr>;tag=2;+sip.instance="<urn:uuid:1>"')
    assert address.name == "Bøb; <x>, y"
    assert dict(address.uri.parameters) == {"lr": None}
    assert dict(address.parameters) == {"tag": "2", "+sip.instance": "<urn:uuid:1>"}
    assert parse_address("Bøb <sip:b@h>").name == "Bøb"
    # Without brackets the parameters are the header field's (RFC 3261, section 20.10).
    bare = parse_address("sip:b@h;tag=3")
    assert (dict(bare.uri.parameters), dict(bare.parameters)) == ({}, {"tag": "3"})


def test_lists_are_split_outside_quotes_and_brackets() -> None:
    assert split_list('"a,b" <sip:x@h,y>, c,, "\\"," d') == ['"a,b" <sip:x@h,y>', "c", '"\\"," d']
    assert split_list("a, b") == ["a", "b"]
    for text in ('"a', "<a", '"a\\"'):
        with pytest.raises(BadMessage):
            split_list(text)
    assert split_parameters('text/x; A="1;2" ;b') == ("text/x", {"a": "1;2", "b": None})


def test_vias() -> None:
    via = parse_via("sip / 2.0 / udp  PBX1 : 5070 ;branch=z9hG4bK*a!b; rport;received=[::1]")
    assert (via.transport, via.host, via.port) == ("UDP", "pbx1", 5070)
    assert dict(via.parameters) == {"branch": "z9hG4bK*a!b", "rport": None, "received": "[::1]"}
    for text in ("SIP/3.0/UDP h", "SIP/2.0/UDP", "SIP/2.0/UDP h:99999", "SIP/2.0/UDP h x"):
        with pytest.raises(BadMessage):
            parse_via(text)


def test_sequence_numbers() -> None:
    number = parse_cseq("2147483647  X-Y")
    assert (number.sequence, number.method) == (2**31 - 1, "X-Y")
    for text in ("", "INVITE", "2147483648 INVITE", "-1 INVITE", "1_0 INVITE", "٣ INVITE", "1 IN VITE"):
        with pytest.raises(BadMessage):
            parse_cseq(text)


def test_challenges_with_commas_in_them() -> None:
    scheme, parameters = parse_auth('Digest realm="a, b", NONCE="x\\"y",qop="auth,auth-int", algorithm=MD5')
    assert scheme == "Digest"
    assert parameters == {"realm": "a, b", "nonce": 'x"y', "qop": "auth,auth-int", "algorithm": "MD5"}
    for text in ("", "Digest", "Digest x"):
        with pytest.raises(BadMessage):
            parse_auth(text)


# Messages


def test_a_message_in_every_strange_but_lawful_form() -> None:
    """After RFC 4475, section 3.1.1.1: compact names, folded lines, odd space and letters."""
    request = parsed(
        b"\r\n\r\nINVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
        b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
        b'f   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
        b"MaX-fOrWaRdS: 0068\r\ni: wsinv.ndaksdj@192.0.2.1\r\nl   : 2\r\ncseq: 0009\r\n  INVITE\r\n"
        b"v:  SIP  / 2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw ,"
        b" SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8\r\n"
        b"Via: SIP/2.0/UDP 192.168.255.111\r\n"
        b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam = newvalue ;'
        b"\r\n  secondparam ; q = 0.33\r\n\r\nv=xyz"
    )
    assert (to_tag(request), from_tag(request)) == ("1918181833n", "98asjd8")
    assert (cseq(request).sequence, call_id(request)) == (9, "wsinv.ndaksdj@192.0.2.1")
    assert (top_via(request).host, len(raw_list(request, "Via"))) == ("192.0.2.2", 3)
    address = contact(request)
    assert address is not None
    assert (address.name, address.parameters["q"]) == ('Quoted string ""', "0.33")
    assert request.body == b"v="


GOOD = request_text("INVITE")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x00\xff",
        GOOD.replace(b"\r\n", b"\n"),
        GOOD[:-2],
        GOOD.replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1),
        GOOD.replace(b"INVITE sip:", b"INVITE http:"),
        GOOD.replace(b"INVITE sip", b"INV ITE sip"),
        GOOD.replace(b"CSeq: 1 INVITE", b"CSeq: 1 OPTIONS"),
        GOOD.replace(b"CSeq: 1 INVITE\r\n", b""),
        GOOD.replace(b"Call-ID: call-1", b"Call-ID:"),
        GOOD.replace(b"From: Alice", b"Form: Alice"),
        GOOD.replace(b"To: <sip:assistant@127.0.0.1>", b"To: <sip:assistant@127.0.0.1"),
        GOOD.replace(b"Via: SIP/2.0/UDP", b"Via: SIP/2.0"),
        GOOD.replace(b"Via: ", b"Vai: "),
        GOOD.replace(b"Content-Length: 0", b"Content-Length: 1"),
        GOOD.replace(b"Content-Length: 0", b"Content-Length: -1"),
        GOOD.replace(b"Content-Length: 0", b"Content-Length: 0\r\nl: 0"),
        GOOD.replace(b"Max-Forwards: 70", b"Max-Forwards 70"),
        GOOD.replace(b"Max-Forwards: 70", b": 70"),
        GOOD.replace(b"alice-1", b"alice\n1"),
        GOOD.replace(b"alice-1", b"alice\x001"),
        GOOD.replace(b"Alice", b"\xff\xfe"),
        GOOD.replace(b"Alice", b"A" * MAX_HEADER_BYTES),
        GOOD.replace(b"Max-Forwards: 70", b"\r\n".join([b"X: 1"] * MAX_HEADERS)),
        GOOD + b"x" * 70_000,
        b"SIP/2.0 99 No" + GOOD[GOOD.index(b"\r\n") :],
        b"SIP/2.0 OK" + GOOD[GOOD.index(b"\r\n") :],
    ],
)
def test_messages_that_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        parse(data)


@given(st.binary(max_size=300), st.integers(0, len(GOOD)), st.integers(0, 40))
def test_a_message_with_anything_in_it_is_understood_or_refused(
    junk: bytes, at: int, instead_of: int
) -> None:
    try:
        message = parse(GOOD[:at] + junk + GOOD[at + instead_of :])
    except BadMessage:
        return
    # What is understood can be answered.
    if isinstance(message, Request):
        mark_source(message, "192.0.2.9", 5071)
        answer = parse(serialise(response_to(message, 200, to_tag=new_tag())))
        assert top_via(answer).parameters.get("branch") == top_via(message).parameters.get("branch")
        assert cseq(answer) == cseq(message)


def test_a_body_ends_where_it_says() -> None:
    assert parse(request_text(body="hello") + b"more").body == b"hello"
    assert parse(request_text(body="hello").replace(b"Content-Length: 5\r\n", b"")).body == b"hello"


@pytest.mark.parametrize(
    "piece",
    [
        " ",
        "\t",
        ";",
        ";a",
        "; rport",
        ";received",
        "=",
        '"',
        '\\"',
        "<",
        "<>",
        ",",
        "a",
        "a-",
        "a.",
        "%",
        "[:",
    ],
)
def test_nothing_takes_long_to_read(piece: str) -> None:
    """As long as a message may be; what went by the square of that would take minutes."""
    began_s = time.process_time()
    text = piece * (15_000 // len(piece))
    for field in ("Via: SIP/2.0/UDP h;branch=z9hG4bKx", "From: <sip:a@h>;tag=1", "To: sip:", "Contact: x"):
        name = field.partition(":")[0]
        lines = [line for line in GOOD.decode().split("\r\n") if not line.startswith(f"{name}:")]
        with suppress(BadMessage):
            message = parsed("\r\n".join([lines[0], field + text, *lines[1:]]).encode())
            mark_source(message, "192.0.2.9", 5071)
            contact(message)
            serialise(response_to(message, 200, to_tag="ours"))
    with suppress(BadMessage):
        parse_auth(f"Digest a={text}")
    assert time.process_time() - began_s < 5


# What is made


def test_a_response_repeats_what_it_must_as_it_came() -> None:
    vias = ("Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK*2", "v: SIP/2.0/TCP a1;branch=z9hG4bK!3")
    routes = ("Record-Route: <sip:p2;lr;x*=1>, <sip:p1;lr>",)
    request = parsed(request_text("INVITE", headers=(*vias, *routes, "Timestamp: 54")))
    response = response_to(request, 180, to_tag="ours")
    lines = serialise(response).split(b"\r\n")
    assert lines[0] == b"SIP/2.0 180 Ringing"
    assert raw_list(response, "Via") == [
        "SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bKbranch1;rport",
        "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK*2",
        "SIP/2.0/TCP a1;branch=z9hG4bK!3",
    ]
    assert b"To: <sip:assistant@127.0.0.1>;tag=ours" in lines
    assert b"Record-Route: <sip:p2;lr;x*=1>, <sip:p1;lr>" in lines
    assert response.headers.get("Timestamp") is None
    assert response_to(request, 100).headers.get("Timestamp") == "54"
    assert response_to(request, 486).headers.get("Record-Route") is None
    tagged = parsed(request_text("BYE", to_tag="theirs"))
    assert to_tag(response_to(tagged, 200, to_tag="ours")) == "theirs"


@pytest.mark.parametrize(
    ("via", "sent_by", "expected"),
    [
        ("", "192.0.2.9:5070", "SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKbranch1"),
        ("", "host1", "SIP/2.0/UDP host1;branch=z9hG4bKbranch1;received=192.0.2.9"),
        (
            ";rport",
            "192.0.2.9",
            "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKbranch1;rport=5071;received=192.0.2.9",
        ),
        (
            ";rport;received=6.6.6.6;x",
            "h",
            "SIP/2.0/UDP h;branch=z9hG4bKbranch1;rport=5071;x;received=192.0.2.9",
        ),
    ],
)
def test_a_request_is_marked_with_where_it_came_from(via: str, sent_by: str, expected: str) -> None:
    """RFC 3581, section 4."""
    request = parsed(request_text(via=via, sent_by=sent_by, headers=("Via: SIP/2.0/UDP second",)))
    mark_source(request, "192.0.2.9", 5071)
    assert raw_list(request, "Via") == [expected, "SIP/2.0/UDP second"]


def test_ack_and_cancel_are_of_the_invites_transaction() -> None:
    """RFC 3261, sections 17.1.1.3 and 9.1."""
    invite = parsed(request_text("INVITE", headers=("Route: <sip:p1;lr>", "Via: SIP/2.0/UDP second")))
    refusal = response_to(invite, 486, to_tag="theirs")
    ack, cancel = ack_to(invite, refusal), cancel_of(invite)
    for request, method in ((ack, "ACK"), (cancel, "CANCEL")):
        assert raw_list(request, "Via") == [raw_list(invite, "Via")[0]]
        assert (cseq(request).sequence, cseq(request).method, request.method) == (1, method, method)
        assert raw_list(request, "Route") == ["<sip:p1;lr>"]
        assert (request.uri, call_id(request), from_tag(request)) == (invite.uri, "call-1", "alice-1")
        parse(serialise(request))
    assert (to_tag(ack), to_tag(cancel)) == ("theirs", None)
    route = first_route(ack)
    assert route is not None
    assert route.host == "p1"


def test_what_would_break_a_message_is_not_sent() -> None:
    response = response_to(parsed(GOOD), 200)
    response.headers.set("Subject", "a\r\nContact: <sip:mallory@h>")
    with pytest.raises(BadMessage):
        serialise(response)
    with pytest.raises(BadMessage):
        serialise(Response(200, "OK\r\nX: y"))


def test_identifiers_are_not_guessed() -> None:
    assert len({new_tag() for _ in range(100)}) == len({new_branch() for _ in range(100)}) == 100
    assert new_branch().startswith("z9hG4bK")
