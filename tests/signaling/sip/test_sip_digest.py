"""Digest credentials: the RFCs' examples, several challenges at once, nonces that expire or come again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sipmessage import URI, Request, Response

from signaling.sip.digest import (
    AuthenticationFailed,
    Challenge,
    DigestClient,
    challenges,
    digest_response,
    parameters,
)
from signaling.sip.digest_server import NONCE_LIFE_S, DigestServer, Verdict
from signaling.sip.errors import BadMessage

USERS = {"alice": SecretStr("wonderland"), 'b"\\ob': SecretStr("päss:wörd")}


def request(method: str = "INVITE") -> Request:
    return Request(method, URI.parse("sip:voice@192.0.2.1"))


def refusal(*headers: str, code: int = 401) -> Response:
    response = Response(code, "Unauthorized")
    for header in headers:
        response.headers.add("WWW-Authenticate" if code == 401 else "Proxy-Authenticate", header)
    return response


def test_the_examples_of_the_rfcs() -> None:
    rfc_2617 = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop="auth")
    assert (
        digest_response(rfc_2617, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b", 1)
        == "6629fae49393a05397450978507c4ef1"
    )
    nonce, cnonce = (
        "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    for algorithm, response in (
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        rfc_7616 = Challenge("http-auth@example.org", nonce, algorithm, qop="auth")
        assert (
            digest_response(rfc_7616, "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce, 1)
            == response
        )


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ('Digest realm="a, b", nonce="n"', {"realm": "a, b", "nonce": "n"}),
        ('digest Realm="a\\"b" , NONCE=abc', {"realm": 'a"b', "nonce": "abc"}),
        ('Digest qop="auth,auth-int",nonce="n=="', {"qop": "auth,auth-int", "nonce": "n=="}),
        ("Basic realm=x", None),
    ],
)
def test_headers_are_read(header: str, read: dict[str, str] | None) -> None:
    assert parameters(header) == read


@pytest.mark.parametrize("header", ['Digest realm="a', "Digest realm", "Digest =x", "Digest"])
def test_headers_that_cannot_be_read(header: str) -> None:
    with pytest.raises(BadMessage):
        parameters(header)
    assert challenges(refusal(header)) == ()


@given(st.text(max_size=200))
def test_any_header_is_read_or_refused(text: str) -> None:
    for header in (text, f"Digest {text}"):
        challenges(refusal(header))


def test_of_several_challenges_the_first_known_algorithm_is_answered() -> None:
    found = challenges(
        refusal(
            'Digest realm="r", nonce="1", algorithm=SHA-512-256, qop="auth"',
            'Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth"',
            'Digest realm="r", nonce="3", algorithm=MD5, qop="auth"',
            'Digest realm="other", nonce="4"',
        )
    )
    assert [(one.realm, one.nonce, one.algorithm, one.qop) for one in found] == [
        ("r", "2", "SHA-256", "auth"),
        ("other", "4", "MD5", ""),
    ]


@pytest.mark.parametrize("username", list(USERS))
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_our_client_satisfies_our_server(username: str, algorithm: str) -> None:
    server = DigestServer("voice", USERS, (algorithm,))
    client = DigestClient(username, USERS[username])
    asked = request()
    assert server.check(asked, 0.0) == (Verdict.NONE, None)
    client.challenged(refusal(*server.challenges(0.0)))
    for _ in range(3):  # each time with a higher count
        client.authorize(asked)
        assert server.check(asked, 1.0) == (Verdict.GOOD, username)
    assert re.search("nc=00000003", asked.headers["Authorization"])
    assert server.check(asked, 2.0) == (Verdict.STALE, username), "what was overheard is sent again"


def test_credentials_hold_for_one_method() -> None:
    server = DigestServer("voice", USERS)
    client = DigestClient("alice", USERS["alice"])
    client.challenged(refusal(*server.challenges(0.0)))
    asked = request("OPTIONS")
    client.authorize(asked)
    asked.method = "INVITE"
    assert server.check(asked, 0.0) == (Verdict.WRONG, None)


def test_a_nonce_expires_and_the_client_takes_the_next() -> None:
    server = DigestServer("voice", USERS)
    client = DigestClient("alice", USERS["alice"])
    client.challenged(refusal(*server.challenges(0.0)))
    asked = request()
    client.authorize(asked)
    late_s = NONCE_LIFE_S + 1
    assert server.check(asked, late_s)[0] is Verdict.STALE
    client.challenged(refusal(*server.challenges(late_s, stale=True)))
    client.authorize(asked)
    assert server.check(asked, late_s) == (Verdict.GOOD, "alice")


def test_a_wrong_password_is_not_tried_twice() -> None:
    server = DigestServer("voice", USERS)
    client = DigestClient("alice", SecretStr("looking glass"))
    client.challenged(refusal(*server.challenges(0.0)))
    asked = request()
    client.authorize(asked)
    assert server.check(asked, 0.0) == (Verdict.WRONG, None)
    with pytest.raises(AuthenticationFailed, match="password"):
        client.challenged(refusal(*server.challenges(0.0)))


def test_a_nonce_that_was_good_before_may_expire_without_a_word() -> None:
    client = DigestClient("alice", USERS["alice"])
    client.challenged(refusal('Digest realm="r", nonce="1"'))
    client.authorize(request())
    client.authorize(request())
    client.challenged(refusal('Digest realm="r", nonce="2"'))


def test_a_registrar_and_a_proxy_are_both_answered() -> None:
    client = DigestClient("alice", USERS["alice"], cnonce=lambda: "c")
    client.challenged(refusal('Digest realm="home", nonce="1", qop="auth,auth-int", opaque="o"'))
    client.challenged(refusal('Digest realm="edge", nonce="2"', code=407))
    asked = request()
    client.authorize(asked)
    client.authorize(asked)
    assert len(asked.headers.getlist("Authorization")) == 1
    home, edge = asked.headers["Authorization"], asked.headers["Proxy-Authorization"]
    assert 'opaque="o"' in home
    assert "qop=auth," in home
    assert "nc=" not in edge, "as RFC 2069 has it"


@pytest.mark.parametrize("name", ["auth-int", "MD5-sess"])
def test_rarer_variants(name: str) -> None:
    qop, algorithm = ("auth-int", "MD5") if name == "auth-int" else ("auth", name)
    challenge = f'Digest realm="r", nonce="n", qop="{qop}", algorithm={algorithm}'
    client = DigestClient("alice", USERS["alice"], cnonce=lambda: "c")
    client.challenged(refusal(challenge))
    asked = request()
    asked.body = b"v=0"
    client.authorize(asked)
    given = parameters(asked.headers["Authorization"])
    assert given is not None
    assert given["qop"] == qop
    assert given["algorithm"] == algorithm
    (known,) = challenges(refusal(challenge))
    uri = "sip:voice@192.0.2.1"
    assert given["response"] == digest_response(known, "alice", "wonderland", "INVITE", uri, "c", 1, b"v=0")
    assert given["response"] != digest_response(known, "alice", "wonderland", "INVITE", uri, "c", 2, b"v=0")


@pytest.mark.parametrize(
    "header",
    [
        'Digest realm="voice", username="alice", nonce="%s", uri="sip:x", response="0"',
        'Digest realm="voice", username="nobody", nonce="%s", uri="sip:x", response="0", qop=auth, nc=xyz',
        'Digest realm="voice", username="alice", nonce="bm9uY2U=", uri="sip:x", response="ü"',
        'Digest realm="voice", username="alice", nonce="%s", algorithm=SHA-1, response="0"',
        'Digest realm="voice"',
        'Digest realm="voice',
    ],
)
def test_made_up_credentials_are_worth_nothing(header: str) -> None:
    server = DigestServer("voice", USERS)
    nonce = parameters(server.challenges(0.0)[0])
    assert nonce is not None
    asked = request()
    asked.headers.add("Authorization", header.replace("%s", nonce["nonce"]))
    verdict, username = server.check(asked, 0.0)
    assert verdict in (Verdict.WRONG, Verdict.FOREIGN)
    assert username is None


def test_another_servers_nonce_is_none_of_ours() -> None:
    ours, theirs = DigestServer("voice", USERS), DigestServer("voice", USERS)
    client = DigestClient("alice", USERS["alice"])
    client.challenged(refusal(*theirs.challenges(0.0)))
    asked = request()
    client.authorize(asked)
    assert ours.check(asked, 0.0) == (Verdict.FOREIGN, None)


def test_memory_of_nonces_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.sip.digest_server._NONCES_KEPT", 4)
    server = DigestServer("voice", USERS)
    overheard: list[Request] = []
    for _ in range(6):
        client = DigestClient("alice", USERS["alice"])
        client.challenged(refusal(*server.challenges(0.0)))
        asked = request()
        client.authorize(asked)
        assert server.check(asked, 0.0)[0] is Verdict.GOOD
        overheard.append(asked)
    assert all(server.check(asked, 0.0)[0] is not Verdict.GOOD for asked in overheard)
