"""Who may call, and what everybody else is told: nothing."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from sipmessage import Request, Response

from signaling.sip.access import Access, Answer
from signaling.sip.agent_settings import SipAccessSettings, SipAccount, SipAgentSettings
from signaling.sip.digest import DigestClient
from signaling.sip.fields import parse_uri
from signaling.sip.settings import SipSettings

USERS = [{"name": "alice", "password": "wonderland"}]
NEAR, FAR = "192.0.2.7", "203.0.113.9"


def access(**settings: object) -> Access:
    return Access(SipAccessSettings.model_validate(settings))


def request(user: str = "alice") -> Request:
    made = Request("INVITE", parse_uri("sip:voice@192.0.2.1"))
    made.headers.set("From", f"<sip:{user}@example.org>;tag=a")
    return made


def with_password(rules: Access, password: str, ip: str = FAR, now_s: float = 0.0) -> Answer:
    """What becomes of a call of alice's, with the answer to a challenge."""
    settings = SipAccessSettings.model_validate({"users": [{"name": "alice", "password": password}]})
    client = DigestClient("alice", settings.users[0].password)
    challenge = Response(401, "")
    challenge.headers.setlist("WWW-Authenticate", rules.challenges(Answer.CHALLENGE, now_s))
    client.challenged(challenge)
    asked = request()
    client.authorize(asked)
    return rules.judge(asked, ip, now_s).answer


@pytest.mark.parametrize(
    ("settings", "near", "far", "stranger"),
    [
        ({}, Answer.IGNORE, Answer.IGNORE, Answer.IGNORE),
        ({"networks": ["192.0.2.0/24"]}, Answer.TAKE, Answer.IGNORE, Answer.IGNORE),
        ({"users": USERS}, Answer.CHALLENGE, Answer.CHALLENGE, Answer.IGNORE),
        ({"networks": [NEAR], "users": USERS}, Answer.TAKE, Answer.CHALLENGE, Answer.IGNORE),
        (
            {"networks": [NEAR], "users": USERS, "needs_both": True},
            Answer.CHALLENGE,
            Answer.IGNORE,
            Answer.IGNORE,
        ),
    ],
)
def test_who_may_call(settings: dict[str, object], near: Answer, far: Answer, stranger: Answer) -> None:
    rules = access(**settings)
    assert rules.judge(request(), NEAR, 0.0).answer is near
    assert rules.judge(request(), FAR, 0.0).answer is far
    assert rules.judge(request("100"), FAR, 0.0).answer is stranger


@pytest.mark.parametrize(
    ("settings", "near", "far"),
    [
        ({}, False, False),
        ({"networks": [NEAR]}, True, False),
        ({"users": USERS}, True, True),
        ({"networks": [NEAR], "users": USERS}, True, True),
        ({"networks": [NEAR], "users": USERS, "needs_both": True}, True, False),
    ],
)
def test_who_is_listened_to(settings: dict[str, object], near: bool, far: bool) -> None:
    rules = access(**settings)
    assert rules.may_knock(NEAR, 0.0) is near
    assert rules.may_knock(FAR, 0.0) is far
    rules.trust("sip:100@pbx", frozenset({FAR}), 10.0)
    assert rules.may_knock(FAR, 0.0)


@pytest.mark.parametrize("ip", ["::ffff:192.0.2.7", "2001:db8::1", "2001:db8::1%eth0"])
def test_networks_of_ipv6(ip: str) -> None:
    rules = access(networks=["192.0.2.0/24", "2001:db8::/32"])
    assert rules.judge(request(), ip, 0.0).answer is Answer.TAKE
    assert rules.judge(request(), "2001:db9::1", 0.0).answer is Answer.IGNORE


def test_a_password_is_right_once() -> None:
    rules = access(users=USERS)
    assert with_password(rules, "wonderland") is Answer.TAKE
    assert with_password(rules, "guess") is Answer.CHALLENGE


def test_of_strangers_only_so_much_is_read() -> None:
    rules = access(users=USERS, networks=[NEAR])
    assert sum(rules.may_knock(FAR, 1.0) for _ in range(1000)) == 200
    assert all(rules.may_knock(NEAR, 1.0) for _ in range(1000))
    assert sum(rules.may_knock(FAR, 1.1) for _ in range(1000)) == pytest.approx(20, abs=1)
    assert sum(rules.may_knock(FAR, 60.0) for _ in range(1000)) == 200


def test_who_guesses_is_heard_no_more_for_a_while() -> None:
    rules = access(users=USERS)
    for now_s in range(5):
        assert with_password(rules, "guess", now_s=now_s) is Answer.CHALLENGE
    assert with_password(rules, "wonderland", now_s=10.0) is Answer.IGNORE
    assert not rules.may_knock(FAR, 10.0)
    assert with_password(rules, "wonderland", NEAR, now_s=10.0) is Answer.TAKE, "another address"
    assert with_password(rules, "wonderland", now_s=400.0) is Answer.TAKE


def test_nobody_is_silenced_by_who_saw_no_challenge() -> None:
    """Anybody can send under another's address; only who gets its mail has a nonce."""
    rules = access(users=USERS)
    asked = request()
    asked.headers.set(
        "Authorization", 'Digest realm="voxtral-kokoro", username="alice", nonce="bm9uY2U=", response="0"'
    )
    for _ in range(10):
        assert rules.judge(asked, FAR, 0.0).answer is Answer.CHALLENGE_STALE
    assert with_password(rules, "wonderland") is Answer.TAKE


def test_memory_of_who_guesses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.sip.access._ADDRESSES_KEPT", 3)
    rules = access(users=USERS)
    for number in range(10):
        with_password(rules, "guess", f"203.0.113.{number}")
    assert len(rules._failures) == 3


def test_a_pbx_may_call_while_it_is_trusted() -> None:
    rules = access()
    rules.trust("sip:100@pbx", frozenset({FAR}), 10.0)
    assert rules.judge(request(), FAR, 0.0).answer is Answer.TAKE
    assert rules.judge(request(), NEAR, 0.0).answer is Answer.IGNORE
    assert rules.judge(request(), FAR, 10.0).answer is Answer.IGNORE, "the registration is over"
    rules.trust("sip:100@pbx", frozenset(), 10.0)
    assert rules.judge(request(), FAR, 0.0).answer is Answer.IGNORE


@pytest.mark.parametrize(
    "settings",
    [
        {"networks": ["example.org"]},
        {"needs_both": True, "networks": [NEAR]},
        {"users": [{"name": "a b", "password": "x"}]},
        {"realm": 'a"b'},
        {"algorithms": []},
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SipAccessSettings.model_validate(settings)


@pytest.mark.parametrize("uri", ["pbx.example.org", "sip:pbx.example.org", "tel:+4930", "sip:a b@c"])
def test_accounts_that_cannot_be(uri: str) -> None:
    with pytest.raises(ValidationError):
        SipAccount.model_validate({"uri": uri})


def test_accounts_without_a_port() -> None:
    with pytest.raises(ValidationError, match="udp_port"):
        SipSettings.model_validate({"accounts": [{"uri": "sip:100@pbx"}]})


def test_a_session_interval_below_the_smallest() -> None:
    with pytest.raises(ValidationError):
        SipAgentSettings.model_validate({"session_expires_s": 60})
    assert SipAgentSettings.model_validate({"session_expires_s": 0}).session_expires_s == 0
