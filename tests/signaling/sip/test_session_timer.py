"""Session timers: what is agreed on (RFC 4028, table 2 of section 9), and what follows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import URI, Request, Response

from media.floor_table import IllegalEvent
from signaling.sip.errors import BadMessage
from signaling.sip.session_timer import (
    TABLE,
    Agreement,
    ArmExpiry,
    ArmRefresh,
    Disarm,
    EndCall,
    Expired,
    NobodyRefreshes,
    Refresh,
    RefreshDue,
    RefreshFailed,
    SessionTimer,
    TheyRefresh,
    TimerState,
    TimerTerms,
    TooSmall,
    WeRefresh,
    confirm,
    confirmed,
    decide,
    propose,
    wanted_interval,
)

OURS = TimerTerms(1800, 90)


def request(**headers: str) -> Request:
    made = Request("INVITE", URI(scheme="sip", host="192.0.2.1"))
    for name, value in headers.items():
        made.headers.set(name.replace("_", "-"), value)
    return made


def response(code: int = 200, **headers: str) -> Response:
    made = Response(code, "")
    for name, value in headers.items():
        made.headers.set(name.replace("_", "-"), value)
    return made


@pytest.mark.parametrize(
    ("headers", "agreement"),
    [
        # who does not know timers
        ({}, Agreement(1800, "uas")),
        ({"Session_Expires": "600"}, Agreement(600, "uas")),
        ({"Session_Expires": "600;refresher=uac"}, Agreement(600, "uas")),
        ({"Session_Expires": "30"}, Agreement(90, "uas")),
        ({"Min_SE": "3600"}, Agreement(3600, "uas")),
        # who knows them
        ({"Supported": "100rel, timer"}, Agreement(1800, "uas")),
        ({"Supported": "timer", "Session_Expires": "600"}, Agreement(600, "uas")),
        ({"Supported": "timer", "Session_Expires": "600;refresher=uac"}, Agreement(600, "uac")),
        ({"Supported": "timer", "Session_Expires": "600;refresher=UAS"}, Agreement(600, "uas")),
        ({"Supported": "timer", "Session_Expires": "7200"}, Agreement(1800, "uas")),
        ({"Supported": "timer", "Session_Expires": "7200", "Min_SE": "3600"}, Agreement(3600, "uas")),
        ({"Supported": "timer", "Session_Expires": "30"}, TooSmall(90)),
        ({"Supported": "Timer", "Session_Expires": "89;refresher=uac"}, TooSmall(90)),
    ],
)
def test_what_is_agreed_on_with_who_calls(headers: dict[str, str], agreement: Agreement) -> None:
    assert decide(request(**headers), OURS) == agreement


def test_this_side_may_want_none() -> None:
    none = TimerTerms(0, 90)
    assert decide(request(), none) is None
    assert decide(request(Session_Expires="7200"), none) == Agreement(7200, "uas")
    asked = request()
    propose(asked, 0, 90)
    assert "Session-Expires" not in asked.headers.keys()  # noqa: SIM118
    assert confirmed(response(), 0) is None


def test_proposal_and_confirmation() -> None:
    asked = request(Supported="timer")
    propose(asked, 1800, 90)
    assert asked.headers["Session-Expires"] == "1800"
    assert "Min-SE" not in asked.headers.keys()  # noqa: SIM118
    for role in ("uac", "uas"):
        propose(asked, 600, 600, role)
        agreement = decide(asked, OURS)
        assert agreement == Agreement(600, role)
        answer = response()
        confirm(answer, agreement)
        assert answer.headers.getlist("Require") == (["timer"] if role == "uac" else [])
        assert confirmed(answer, 600) == agreement
    assert asked.headers["Min-SE"] == "600"


def test_a_far_side_without_timers_is_refreshed_by_this_one() -> None:
    assert confirmed(response(), 1800) == Agreement(1800, "uac")
    assert confirmed(response(Session_Expires="600"), 1800) == Agreement(600, "uac")


def test_a_422() -> None:
    assert wanted_interval(response(422, Min_SE="3600"), 1800) == 3600
    for headers in ({}, {"Min_SE": "1800"}, {"Min_SE": "x"}):
        with pytest.raises(BadMessage):
            wanted_interval(response(422, **headers), 1800)


@given(st.text(max_size=40))
def test_any_header_is_read_or_refused(text: str) -> None:
    for name in ("Session-Expires", "Min-SE", "Supported"):
        asked = request()
        asked.headers.set(name, text)
        try:
            agreement = decide(asked, OURS)
        except BadMessage:
            continue
        assert isinstance(agreement, Agreement | TooSmall)


def test_this_side_refreshes_at_half_time_and_gives_up_before_the_end() -> None:
    timer = SessionTimer()
    assert timer.feed(WeRefresh(100.0, 1800)) == (Disarm(), ArmRefresh(1000.0), ArmExpiry(1868.0))
    assert timer.feed(RefreshDue(1000.0)) == (Refresh(),)
    assert timer.feed(RefreshFailed(1001.0)) == (ArmRefresh(1181.0),)
    assert timer.feed(RefreshDue(1181.0)) == (Refresh(),)
    assert timer.feed(WeRefresh(1182.0, 90)) == (Disarm(), ArmRefresh(1227.0), ArmExpiry(1242.0))
    assert timer.feed(Expired(1242.0)) == (Disarm(), EndCall())
    assert timer.state is TimerState.OVER


def test_the_far_side_refreshes_or_the_call_ends() -> None:
    timer = SessionTimer()
    assert timer.feed(TheyRefresh(0.0, 90)) == (Disarm(), ArmExpiry(60.0))
    assert timer.feed(TheyRefresh(50.0, 90)) == (Disarm(), ArmExpiry(110.0))
    assert timer.feed(Expired(110.0)) == (Disarm(), EndCall())


def test_nobody_refreshes() -> None:
    timer = SessionTimer()
    timer.feed(WeRefresh(0.0, 90))
    assert timer.feed(NobodyRefreshes(10.0)) == (Disarm(),)
    with pytest.raises(IllegalEvent):
        timer.feed(RefreshDue(45.0))


EVENTS = st.sampled_from([WeRefresh, TheyRefresh, NobodyRefreshes, RefreshDue, RefreshFailed, Expired])


@given(st.lists(EVENTS, max_size=40))
def test_any_order_of_events_keeps_to_the_table(events: list[type]) -> None:
    timer, armed = SessionTimer(), False
    for at_s, kind in enumerate(events):
        event = kind(float(at_s), 90) if kind in (WeRefresh, TheyRefresh) else kind(float(at_s))
        legal = (timer.state, kind) in TABLE
        if not legal:
            with pytest.raises(IllegalEvent):
                timer.feed(event)
            continue
        for command in timer.feed(event):
            match command:
                case ArmExpiry():
                    armed = True
                    assert command.deadline_s > event.at_s
                case Disarm():
                    armed = False
        if timer.state in (TimerState.OURS, TimerState.THEIRS, TimerState.REFRESHING):
            assert armed, "a call with a timer ends some time"
        else:
            assert not armed
