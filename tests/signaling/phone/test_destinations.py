"""Whom the server may call: one way of writing for each, and nothing that two could read in two ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from media.errors import CallerError
from signaling.phone.destinations import destination, is_allowed
from signaling.phone.settings import TelephoneSettings


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("+49301234567", "+49301234567"),
        ("+49 (30) 123-45.67", "+49301234567"),
        ("tel:+49-30-1234567", "+49301234567"),
        ("TEL:+49301234567", "+49301234567"),
        ("sip:alice@PBX.Example.org", "sip:alice@pbx.example.org"),
        ("SIP:alice@pbx", "sip:alice@pbx"),
        ("sips:alice@pbx:5061", "sips:alice@pbx:5061"),
        ("sip:%2B4930@trunk", "sip:+4930@trunk"),
        ("sip:%61lice@pbx", "sip:alice@pbx"),
        ("sip:alice@[2001:DB8::1]:5060", "sip:alice@[2001:db8::1]:5060"),
        ("sip:alice@pbx;transport=TCP;user=phone", "sip:alice@pbx;transport=tcp;user=phone"),
    ],
)
def test_one_way_of_writing(text: str, written: str) -> None:
    assert str(destination(text)) == written
    assert str(destination(written)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "4930123",
        "+0301234",
        "+49",
        "+49" + "1" * 20,
        "+49301234;phone-context=evil",
        "+4930\r\nX-Injected: yes",
        "sip:alice",
        "sip:@pbx",
        "sip:alice@",
        "sip:alice@pbx\r\nContact: <sip:evil@evil>",
        "sip:alice@pbx?Route=evil",
        "sip:alice@pbx?X=%0d%0aVia:x",
        "sip:alice%0d%0aX:1@pbx",
        "sip:alice%40evil@pbx",
        "sip:alice%3bx@pbx",
        "sip:alice:secret@pbx",
        "sip:alice@pbx@evil",
        "sip:alice@pbx;maddr=evil",
        "sip:alice@pbx;transport=ws",
        "sip:alice@pbx:0",
        "sip:alice@pbx:70000",
        "sip:alice@pbx ",
        " sip:alice@pbx",
        "<sip:alice@pbx>",
        '"Alice" <sip:alice@pbx>',
        "sip:alice@pbx,sip:bob@pbx",
        "sip:älice@pbx",
        "sip:alice@pbx.evil/x",
        "mailto:alice@pbx",
        "+４９30123456",
        "sip:" + "a" * 300 + "@pbx",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(CallerError) as refused:
        destination(text)
    assert refused.value.code == "invalid_destination"


@given(st.text(max_size=60) | st.from_regex(r"(sips?:|tel:|\+)[ -~]{0,60}"))
def test_whatever_is_taken_is_clean_and_stays_as_it_is(text: str) -> None:
    try:
        written = str(destination(text))
    except CallerError:
        return
    assert written.isascii()
    assert written.isprintable()
    assert not set(written) & set(' <>"?,\\%')
    assert written.count("@") <= 1
    assert str(destination(written)) == written


@pytest.mark.parametrize(
    ("to", "allowed", "denied", "expected"),
    [
        ("+4930123", (), (), False),
        ("+4930123", ("+4930*",), (), True),
        ("+4940123", ("+4930*",), (), False),
        ("+4930123", ("+4930123",), (), True),
        ("+49301234", ("+4930123",), (), False),
        ("+49900123", ("+49*",), ("+49900*",), False),
        ("+49301234", ("+49*",), ("+49900*",), True),
        ("+4930123", ("*",), (), True),
        ("sip:20@pbx.example.org", ("sip:*@pbx.example.org",), (), True),
        ("sip:20@PBX.example.org", ("sip:*@pbx.Example.org",), (), True),
        ("sip:20@pbx.example.org;transport=tcp", ("sip:*@pbx.example.org",), (), True),
        ("sip:20@pbx.example.org.evil.com", ("sip:*@pbx.example.org",), (), False),
        ("sip:20@evil.com", ("sip:*@pbx.example.org",), (), False),
        ("sip:20@pbx.example.org:9999", ("sip:*@pbx.example.org",), (), False),
        ("sip:20@pbx.example.org:5070", ("sip:*@pbx.example.org:5070",), (), True),
        ("sips:20@pbx.example.org", ("sip:*@pbx.example.org",), (), False),
        ("sip:20@x.example.org", ("sip:2*@*.example.org",), (), True),
        ("sip:30@x.example.org", ("sip:2*@*.example.org",), (), False),
        ("sip:+49900123@trunk", ("+49*",), (), False),
        ("sip:20@pbxXexample.org", ("sip:20@pbx.example.org",), (), False),
        ("sip:201@pbx", ("sip:2??@pbx",), (), True),
        ("sip:2015@pbx", ("sip:2??@pbx",), (), False),
        ("+493012", ("+4930??",), (), True),
        ("+4930123", ("+4930??",), (), False),
        # A number within a SIP address.
        ("sip:+4930123@trunk", ("sip:*@trunk",), (), False),
        ("sip:0049301234@trunk", ("sip:*@trunk",), (), False),
        ("sip:0049301234@trunk", ("sip:??49*@trunk",), (), False),
        ("sip:+4930123@trunk", ("sip:+49*@trunk",), (), True),
        ("sip:0049301234@trunk", ("sip:0049*@trunk",), (), True),
        ("sip:+4930123@trunk", ("*",), (), True),
        # However else it is written.
        ("sip:+49900123@trunk", ("*",), ("+49900*",), False),
        ("sip:+49-900.123@trunk", ("*",), ("+49900*",), False),
        ("sip:0049900123@trunk:5070", ("*",), ("+49900*",), False),
        ("sips:01149900123@trunk", ("*",), ("+49900*",), False),
        ("sip:+49900@[::1]", ("*",), ("+49900*",), False),
        ("sip:boss@pbx", ("*",), ("sip:boss@pbx",), False),
        ("sip:BOSS@pbx", ("*",), ("sip:boss@pbx",), False),
        ("sip:boss@pbx", ("*",), ("sip:Boss@pbx",), False),
        ("sips:boss@pbx", ("*",), ("sip:boss@pbx",), False),
        ("sip:boss@pbx:5060", ("*",), ("sip:boss@pbx",), False),
        ("sip:boss@pbx:5070", ("*",), ("sip:boss@pbx:5060",), True),
        ("sip:boss@[::1]:5060", ("*",), ("sip:*@[::1]",), False),
        ("sip:20@pbx", ("*",), ("+49900*", "sip:boss@pbx"), True),
    ],
)
def test_patterns(to: str, allowed: tuple[str, ...], denied: tuple[str, ...], expected: bool) -> None:
    settings = TelephoneSettings(allowed_destinations=allowed, denied_destinations=denied)
    wanted = destination(to)
    assert is_allowed(wanted, settings.allowed_destinations, settings.denied_destinations) == expected


@pytest.mark.parametrize("pattern", ["", "4930*", "alice", "sip:*", "+49[30]", "sip:a@b;x", "**"])
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="a pattern is written as"):
        TelephoneSettings(allowed_destinations=(pattern,))


def test_a_transfer_target_must_be_callable_and_named_once() -> None:
    with pytest.raises(ValidationError, match="cannot be called"):
        TelephoneSettings.model_validate({"transfer_targets": [{"name": "boss", "to": "upstairs"}]})
    boss = {"name": "boss", "to": "sip:1@pbx"}
    with pytest.raises(ValidationError, match="two of transfer_targets are called boss"):
        TelephoneSettings.model_validate({"transfer_targets": [boss, boss]})
