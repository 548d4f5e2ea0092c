"""Offers and candidates to a whole server on loopback, with a decent call beside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDictProxy

from signaling.caller import Caller
from tests.fuzz.json_texts import texts
from tests.fuzz.sdp_texts import CANDIDATES, OFFERS, SDP, SPOILT_LINES
from tests.signaling.scripted_call import Serving, serving

BATCH = 24
"""Requests to one server."""
LIMIT_S = 60.0
END_LIMIT_S = 10.0
_TURNS_OF_THE_LOOP = 20

JSON_TYPE = "application/json"
SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
FORM_TYPE = "multipart/form-data; boundary=edge"
_TYPES = st.sampled_from([JSON_TYPE, SDP_TYPE, FRAGMENT_TYPE, FORM_TYPE, "multipart/form-data", "text/plain"])
_SESSION = {"type": "realtime", "instructions": "Sing.", "audio": {"output": {"voice": "af_heart"}}}


@dataclass(frozen=True)
class Request:
    """What is asked. In its path `$whip` stands for a call that is up."""

    method: str
    path: str
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def _asked(
    method: str,
    path: str,
    content_type: str,
    bodies: st.SearchStrategy[str],
    headers: st.SearchStrategy[dict[str, str]],
) -> st.SearchStrategy[Request]:
    right = st.just(content_type)
    kinds = st.sampled_from([right] * 9 + [_TYPES]).flatmap(lambda kind: kind)
    encoded = st.tuples(bodies, st.sampled_from([b""] * 9 + [b"\xff"])).map(
        lambda pair: pair[0].encode(errors="surrogatepass") + pair[1]
    )
    return st.builds(Request, st.just(method), st.just(path), kinds, encoded, headers)


def _post(path: str, content_type: str, bodies: st.SearchStrategy[str]) -> st.SearchStrategy[Request]:
    return _asked("POST", path, content_type, bodies, st.just({}))


def _form(sdp: str, session: str | None, cut: int | None) -> str:
    parts = {"sdp": sdp, **({} if session is None else {"session": session})}
    edges = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    ]
    return "".join([*edges, "--edge--\r\n"])[:cut]


_FORMS = st.builds(
    _form,
    SDP,
    st.none() | texts([_SESSION]),
    st.sampled_from([None, None, None, 30, 90, 300, -1, -8]),
)
_PART = (
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: binary\r\n"
    "Content-Encoding: identity\r\nContent-Length: 3\r\n"
)
_SPOILT_FORMS = SPOILT_LINES.of(
    (_form("v=0", "{}", None), _form("v=0", "{}", None).replace("\r\n\r\n", f"\r\n{_PART}\r\n"))
)
OFFERED = st.lists(
    st.one_of(
        _post("/v1/realtime/calls", SDP_TYPE, SDP),
        _post("/v1/realtime/calls", FORM_TYPE, _FORMS),
        _post("/v1/realtime/calls", FORM_TYPE, _SPOILT_FORMS),
        _post("/whip", SDP_TYPE, SDP),
    ),
    min_size=BATCH,
    max_size=BATCH,
)

_ICE = "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n"
_FRAGMENT = (
    f"$ice\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{CANDIDATES[0]}\r\n{CANDIDATES[-1]}\r\n"
    "a=end-of-candidates\r\n"
)
_FRAGMENTS = st.one_of(
    st.just(_FRAGMENT),
    SPOILT_LINES.of((_FRAGMENT, "\r\n".join(["$ice", *CANDIDATES]))),
    SPOILT_LINES.of(tuple(CANDIDATES)).map(lambda line: f"$ice\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n{line}"),
)
_MATCHING = st.sampled_from(
    [{"If-Match": "$etag"}] * 6
    + [{"If-Match": "*"}, {}, {"If-Match": '"'}, {"If-Match": "W/$etag"}, {"ETag": "x"}]
)
TRICKLES = st.lists(
    _asked("PATCH", "/whip/$whip", FRAGMENT_TYPE, _FRAGMENTS, _MATCHING), min_size=BATCH, max_size=BATCH
)


def check_offers(examples: int) -> None:
    """Tries so many servers with offers at all their doors."""
    _check(examples, OFFERED, _offer_all)


def check_candidates(examples: int) -> None:
    """Tries so many servers with candidates for a call of WHIP."""
    _check(examples, TRICKLES, _trickle_all)


Act = Callable[["_Server", list[Request]], Awaitable[None]]


def _check(examples: int, requests: st.SearchStrategy[list[Request]], act: Act) -> None:
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(requests)
    def the_server_survives(asked: list[Request]) -> None:
        before = len(psutil.Process().net_connections("inet"))
        asyncio.run(_beside_a_call(asked, act))
        assert len(psutil.Process().net_connections("inet")) <= before, "a port was left open"

    the_server_survives()


@dataclass
class _Server:
    serving: Serving
    http: aiohttp.ClientSession

    async def ask(self, request: Request) -> tuple[int, CIMultiDictProxy[str], str]:
        headers = {"Content-Type": request.content_type, **request.headers}
        async with self.http.request(
            request.method, request.path, data=request.body, headers=headers
        ) as response:
            answer = response.status, response.headers, await response.text()
        _look_at(request, answer[0], answer[2])
        return answer

    async def end(self, call_id: str) -> None:
        """Hangs up, and waits until the line is free."""
        async with self.http.post(f"/v1/realtime/calls/{call_id}/hangup") as response:
            # 404: it may have ended by itself.
            assert response.status in (200, 404), response.status
        async with asyncio.timeout(END_LIMIT_S):
            while any(slot.call_id == call_id for slot in self.serving.host.taken):
                self.serving.host.freed.clear()
                await self.serving.host.freed.wait()


def _look_at(request: Request, status: int, body: str) -> None:
    """What is refused is refused by a typed error, and is the client's fault."""
    if status < 300:
        return
    assert 400 <= status < 500, (request, status, body)
    error = json.loads(body)
    code = error["error"]["code"] if request.path.startswith("/v1/") else error["code"]
    assert isinstance(code, str), (request, body)
    assert code != "call_not_found", request


async def _beside_a_call(asked: list[Request], act: Act) -> None:
    """The server is asked all that, while a decent call goes on as if nothing was."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with asyncio.timeout(LIMIT_S):
        async with _server() as server:
            async with Caller(server.serving.url) as decent:
                await act(server, asked)
                assert len(server.serving.host.taken) == 1, "a line is kept"
                await _require_going_on(decent)
        assert not server.serving.calls
        assert server.serving.host.failures == []
    for _ in range(_TURNS_OF_THE_LOOP):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left
    assert faults == []


@asynccontextmanager
async def _server() -> AsyncIterator[_Server]:
    async with serving() as running, aiohttp.ClientSession(running.url) as http:
        yield _Server(running, http)
    # aiohttp remembers the handlers of a thousand applications, and with them this one's calls.
    running.host.conversations.clear()


async def _require_going_on(call: Caller) -> None:
    async with asyncio.timeout(END_LIMIT_S):
        call.type_text("Are you there?")
        await call.next_event("conversation.item.added")
        call.more_heard.clear()
        await call.more_heard.wait()
    assert not call.ended.is_set()


async def _offer_all(server: _Server, asked: list[Request]) -> None:
    for request in asked:
        status, headers, _ = await server.ask(request)
        if status < 300:
            await server.end(headers["Location"].rpartition("/")[2])


async def _trickle_all(server: _Server, asked: list[Request]) -> None:
    offer = OFFERS["aiortc"]
    _, published, _ = await server.ask(Request("POST", "/whip", SDP_TYPE, offer.encode()))
    names = {
        "$whip": published["Location"].rpartition("/")[2],
        "$etag": published["ETag"],
        "$ice": "\r\n".join(
            line for line in offer.splitlines()[:30] if line.startswith(("a=ice-ufrag", "a=ice-pwd"))
        ),
    }
    for request in asked:
        await server.ask(_addressed(request, names))
    await server.end(names["$whip"])


def _addressed(request: Request, names: dict[str, str]) -> Request:
    path, body = request.path, request.body
    headers = dict(request.headers)
    for name, value in names.items():
        path = path.replace(name, value)
        body = body.replace(name.encode(), value.encode())
        headers = {header: text.replace(name, value) for header, text in headers.items()}
    return Request(request.method, path, request.content_type, body, headers)
