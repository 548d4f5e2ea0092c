"""Transactions between two sides, in virtual time: what is lost is repeated, and counts once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sipmessage import Response

from media.floor_table import IllegalEvent
from signaling.sip.errors import SipTimeout, SipTransportFailed
from signaling.sip.hop import Hop, Transport
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import parse, response_to, serialise, to_tag
from signaling.sip.outgoing import ClientTransaction
from signaling.sip.transaction_layer import TransactionLayer
from tests import virtual_time
from tests.signaling.sip.sip_texts import ack_of, new_request, request_text
from tests.signaling.sip.virtual_network import Network, keep_all

URI = "sip:bob@10.0.0.2"


class Pair:
    """Two ends, and the requests that came to the second."""

    def __init__(
        self, loses: Callable[[Hop, bytes], bool] = keep_all, transport: Transport = Transport.UDP
    ) -> None:
        self.network = Network(loses)
        self.came: asyncio.Queue[ServerTransaction] = asyncio.Queue()
        self.caller, self.here = self.network.join("10.0.0.1", self._unexpected, transport)
        self.callee, self.there = self.network.join("10.0.0.2", self.came.put_nowait, transport)

    @staticmethod
    def _unexpected(transaction: ServerTransaction) -> None:
        raise AssertionError(transaction.request)

    def begin(self, method: str) -> ClientTransaction:
        return self.caller.begin(new_request(method, URI), self.there)

    async def silence(self) -> None:
        """Longer than anything of a transaction lasts. Nothing is left then."""
        await asyncio.sleep(70)
        assert (len(self.caller), len(self.callee)) == (0, 0)


def losing(sender_ip: str, start: bytes, count: int) -> Callable[[Hop, bytes], bool]:
    """Loses the first messages that begin so."""
    left = [count]

    def loses(sender: Hop, data: bytes) -> bool:
        if sender.ip == sender_ip and data.startswith(start) and left[0] > 0:
            left[0] -= 1
            return True
        return False

    return loses


async def answered(pair: Pair, client: ClientTransaction) -> tuple[ServerTransaction, Any]:
    """An INVITE is answered with 200 and acknowledged."""
    server = await pair.came.get()
    server.respond(server.response(200))
    response = await client.final_response()
    client.acknowledge(response, ack_of(client.request, response), pair.there)
    return server, response


def test_an_exchange() -> None:
    async def main() -> None:
        pair = Pair()
        client = pair.begin("OPTIONS")
        server = await pair.came.get()
        assert server.source == pair.here
        assert not server.answered
        server.respond(server.response(200))
        assert server.answered
        response = await client.next_response()
        assert response is not None
        assert (response.code, to_tag(response)) == (200, server.tag)
        assert await client.next_response() is None
        with pytest.raises(SipTransportFailed):
            await client.final_response()
        with pytest.raises(IllegalEvent):
            server.respond(server.response(500))
        await pair.silence()
        server.respond(server.response(500))  # nobody waits for it any more
        assert len(pair.network.log) == 2

    virtual_time.run(main())


def test_a_lost_request_is_repeated_and_a_lost_answer_too() -> None:
    async def main() -> None:
        first, second = losing("10.0.0.1", b"OPTIONS", 2), losing("10.0.0.2", b"SIP/2.0 200", 2)
        pair = Pair(lambda sender, data: first(sender, data) or second(sender, data))
        client = pair.begin("OPTIONS")
        server = await pair.came.get()
        server.respond(server.response(200))
        assert (await client.final_response()).code == 200
        assert pair.network.sent(pair.here, "OPTIONS") == [0, 0.5, 1.5, 3.5, 7.5]
        assert pair.network.sent(pair.there, "SIP/2.0 200") == [1.51, 3.51, 7.51]
        await pair.silence()
        assert pair.came.empty(), "a repeated request is not a new one"

    virtual_time.run(main())


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
def test_nobody_answers(method: str) -> None:
    async def main() -> None:
        pair = Pair(lambda sender, data: True)
        client = pair.begin(method)
        with pytest.raises(SipTimeout):
            await client.next_response()
        assert asyncio.get_running_loop().time() == pytest.approx(32)
        with pytest.raises(SipTimeout):
            await client.final_response()
        expected = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
        if method == "OPTIONS":
            expected = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert pair.network.sent(pair.here, method) == expected
        await pair.silence()

    virtual_time.run(main())


def test_over_tcp_nothing_is_repeated_but_2xx() -> None:
    async def main() -> None:
        pair = Pair(lambda sender, data: sender.ip == "10.0.0.2", Transport.TCP)
        pair.begin("OPTIONS")
        pair.begin("INVITE")
        await pair.came.get()
        server = await pair.came.get()
        server.respond(server.response(200))
        assert await server.acknowledged() is None
        assert len(pair.network.sent(pair.here, "OPTIONS")) == 1
        assert len(pair.network.sent(pair.here, "INVITE")) == 1
        assert len(pair.network.sent(pair.there, "SIP/2.0 200")) == 11
        await pair.silence()

    virtual_time.run(main())


def test_an_invite_is_answered_and_acknowledged() -> None:
    async def main() -> None:
        pair = Pair()
        client = pair.begin("INVITE")
        server = await pair.came.get()
        await asyncio.sleep(1)  # 100 is sent meanwhile
        server.respond(server.response(180))
        server.respond(server.response(200))
        codes = [response.code for _ in range(3) if (response := await client.next_response())]
        assert codes == [100, 180, 200]
        assert pair.network.sent(pair.there, "SIP/2.0 100 Trying") == [0.21]
        response = response_to(server.request, 200, to_tag=server.tag)
        client.acknowledge(response, ack_of(client.request, response), pair.there)
        ack = await server.acknowledged()
        assert ack is not None
        assert to_tag(ack) == server.tag
        assert await client.next_response() is None  # 64*T1 later: no further fork has answered
        assert len(pair.network.sent(pair.there, "SIP/2.0 200")) == 1
        await pair.silence()

    virtual_time.run(main())


def test_each_repeated_2xx_is_acknowledged_again() -> None:
    async def main() -> None:
        pair = Pair(losing("10.0.0.1", b"ACK", 3))
        client = pair.begin("INVITE")
        server, _ = await answered(pair, client)
        assert await server.acknowledged() is not None
        assert len(pair.network.sent(pair.here, "ACK")) == len(pair.network.sent(pair.there, "SIP/2.0 200"))
        assert len(pair.network.sent(pair.here, "ACK")) == 4
        assert await client.next_response() is None, "repeated ones are no news"
        await pair.silence()

    virtual_time.run(main())


def test_a_2xx_that_is_never_acknowledged() -> None:
    async def main() -> None:
        pair = Pair(losing("10.0.0.1", b"ACK", 100))
        client = pair.begin("INVITE")
        server, _ = await answered(pair, client)
        assert await server.acknowledged() is None
        assert asyncio.get_running_loop().time() == pytest.approx(32, abs=0.1)
        await pair.silence()

    virtual_time.run(main())


def test_every_fork_that_answers_is_told() -> None:
    async def main() -> None:
        pair = Pair()
        client = pair.begin("INVITE")
        server = await pair.came.get()
        forks = [response_to(server.request, 200, to_tag=f"fork-{at}") for at in (1, 2, 1, 2)]
        for response in forks:
            pair.network.carry(serialise(response), pair.there, pair.here)
        first, second = await client.next_response(), await client.next_response()
        assert first is not None
        assert second is not None
        assert (to_tag(first), to_tag(second)) == ("fork-1", "fork-2")
        client.acknowledge(first, ack_of(client.request, first), pair.there)
        pair.network.carry(serialise(forks[0]), pair.there, pair.here)
        pair.network.carry(serialise(forks[1]), pair.there, pair.here)
        assert await client.next_response() is None
        assert len(pair.network.sent(pair.here, "ACK")) == 2, (
            "of the second nobody said how to acknowledge it"
        )

    virtual_time.run(main())


def test_a_refusal_is_acknowledged_in_its_transaction() -> None:
    async def main() -> None:
        pair = Pair(losing("10.0.0.1", b"ACK", 2))
        client = pair.begin("INVITE")
        server = await pair.came.get()
        server.respond(server.response(486))
        assert (await client.final_response()).code == 486
        assert await client.next_response() is None
        assert await server.acknowledged() is None
        assert pair.network.sent(pair.there, "SIP/2.0 486") == [0.01, 0.51, 1.51]
        assert len(pair.network.sent(pair.here, "ACK")) == 3
        await pair.silence()

    virtual_time.run(main())


def test_a_refusal_that_is_never_acknowledged() -> None:
    async def main() -> None:
        pair = Pair(losing("10.0.0.1", b"ACK", 100))
        pair.begin("INVITE")
        server = await pair.came.get()
        server.respond(server.response(404))
        await pair.silence()
        sent_s = pair.network.sent(pair.there, "SIP/2.0 404")
        assert sent_s[-1] < 32.1
        assert len(sent_s) == 11

    virtual_time.run(main())


def test_cancel_waits_for_a_provisional_response() -> None:
    async def main() -> None:
        pair = Pair(losing("10.0.0.1", b"INVITE", 2))
        client = pair.begin("INVITE")
        client.cancel()
        client.cancel()
        server = await pair.came.get()
        assert not server.cancelled.is_set()
        await server.cancelled.wait()
        assert pair.network.sent(pair.here, "CANCEL") == [1.72]  # 1.5 for the INVITE, 0.2 for its 100
        server.respond(server.response(487))
        assert (await client.final_response()).code == 487
        assert await client.next_response() is None
        assert len(pair.network.sent(pair.there, "SIP/2.0 200")) == 1
        await pair.silence()

    virtual_time.run(main())


def test_a_2xx_that_crosses_the_cancel_wins() -> None:
    async def main() -> None:
        pair = Pair()
        client = pair.begin("INVITE")
        server = await pair.came.get()
        server.respond(server.response(180))
        assert await client.next_response() is not None
        client.cancel()
        server.respond(server.response(200))
        response = await client.final_response()
        assert response.code == 200
        client.acknowledge(response, ack_of(client.request, response), pair.there)
        assert await server.acknowledged() is not None
        assert not server.cancelled.is_set()
        client.cancel()  # too late: nothing is sent
        await pair.silence()
        assert len(pair.network.sent(pair.here, "CANCEL")) == 1

    virtual_time.run(main())


def test_a_cancel_that_leads_to_nothing_ends_the_call_all_the_same() -> None:
    """RFC 3261, section 9.1: 64*T1."""

    async def main() -> None:
        pair = Pair()
        client = pair.begin("INVITE")
        server = await pair.came.get()
        server.respond(server.response(180))
        assert await client.next_response() is not None
        client.cancel()
        with pytest.raises(SipTimeout):
            await client.final_response()
        assert server.cancelled.is_set()
        server.respond(server.response(487))  # much too late
        await pair.silence()

    virtual_time.run(main())


def test_a_cancel_of_nothing_is_the_users() -> None:
    """Whether it gets 481 or, as a stranger's, nothing."""

    async def main() -> None:
        pair = Pair()
        for _ in range(2):
            pair.network.carry(request_text("CANCEL", sent_by="10.0.0.1:5060"), pair.here, pair.there)
        server = await pair.came.get()
        server.respond(server.response(481))
        pair.network.carry(request_text("CANCEL", sent_by="10.0.0.1:5060"), pair.here, pair.there)
        await pair.silence()
        assert pair.came.empty()
        assert len(pair.network.sent(pair.there, "SIP/2.0 481")) == 2

    virtual_time.run(main())


def test_the_answer_to_a_cancel_has_the_calls_tag() -> None:
    """RFC 3261, section 9.2."""

    async def main() -> None:
        pair = Pair()
        told: list[Response] = []
        pair.caller.receive = lambda message, source: told.append(message)  # type: ignore[method-assign, assignment]
        for method in ("INVITE", "CANCEL"):
            pair.network.carry(request_text(method, sent_by="10.0.0.1:5060"), pair.here, pair.there)
        server = await pair.came.get()
        await server.cancelled.wait()
        server.respond(server.response(487))
        await pair.silence()
        assert {to_tag(response) for response in told} == {server.tag}

    virtual_time.run(main())


def test_strangers_can_be_ignored() -> None:
    async def main() -> None:
        network = Network()
        callee, there = network.join("10.0.0.2", lambda server: server.ignore())
        caller, here = network.join("10.0.0.1", lambda server: None)
        for method in ("INVITE", "OPTIONS", "CANCEL"):
            network.carry(request_text(method, sent_by="10.0.0.1:5060"), here, there)
        await asyncio.sleep(1)
        assert len(callee) == 0
        assert [who for _, who, _ in network.log] == [here] * 3
        assert len(caller) == 0

    virtual_time.run(main())


def test_what_belongs_to_nothing_is_dropped() -> None:
    async def main() -> None:
        pair = Pair()
        stray = parse(request_text("OPTIONS"))
        pair.network.carry(request_text("ACK", to_tag="x"), pair.here, pair.there)
        pair.network.carry(serialise(response_to(stray, 200)), pair.here, pair.there)  # type: ignore[arg-type]
        client = pair.begin("OPTIONS")
        server = await pair.came.get()
        astray = server.response(200)
        astray.headers.add("Via", "SIP/2.0/UDP 10.0.0.9")  # section 8.1.3.3
        pair.network.carry(serialise(astray), pair.there, pair.here)
        await asyncio.sleep(1)
        server.respond(server.response(202))
        assert (await client.final_response()).code == 202
        await pair.silence()

    virtual_time.run(main())


def test_an_old_client_without_a_branch_is_served() -> None:
    """RFC 2543's had none that name a transaction."""

    async def main() -> None:
        pair = Pair()
        for method, number in (("INVITE", 1), ("INVITE", 1), ("INVITE", 2)):
            text = request_text(method, branch="1", number=number, sent_by="10.0.0.1:5060")
            pair.network.carry(text, pair.here, pair.there)
        await asyncio.sleep(0.1)
        assert pair.came.qsize() == 2
        first, second = pair.came.get_nowait(), pair.came.get_nowait()
        for server in (first, second):
            server.respond(server.response(486))
        for number in (1, 2):
            text = request_text("ACK", branch="1", number=number, sent_by="10.0.0.1:5060", to_tag="x")
            pair.network.carry(text, pair.here, pair.there)
        await pair.silence()
        assert len(pair.network.sent(pair.there, "SIP/2.0 486")) == 2

    virtual_time.run(main())


def test_an_ack_to_a_2xx_is_found_by_its_dialog() -> None:
    """Its branch is another one; some telephones take the INVITE's all the same."""

    async def main() -> None:
        pair = Pair()
        for at, branch in enumerate(("z9hG4bKother", "z9hG4bKinvite1")):
            text = request_text(
                "INVITE", branch=f"z9hG4bKinvite{at}", call_id=f"c{at}", sent_by="10.0.0.1:5060"
            )
            pair.network.carry(text, pair.here, pair.there)
            server = await pair.came.get()
            server.respond(server.response(200))
            ack = request_text(
                "ACK", branch=branch, call_id=f"c{at}", to_tag=server.tag, sent_by="10.0.0.1:5060"
            )
            pair.network.carry(ack, pair.here, pair.there)
            assert await server.acknowledged() is not None
        await pair.silence()

    virtual_time.run(main())


def test_too_many_at_once_get_503() -> None:
    async def main() -> None:
        network = Network()
        came: list[ServerTransaction] = []
        callee, there = network.join("10.0.0.2", came.append, max_transactions=3)
        _, here = network.join("10.0.0.1", came.append)
        for at in range(5):
            text = request_text("OPTIONS", branch=f"z9hG4bK{at}", sent_by="10.0.0.1:5060")
            network.carry(text, here, there)
        await asyncio.sleep(0.1)
        assert len(came) == 3
        assert len(network.sent(there, "SIP/2.0 503")) == 2
        await asyncio.sleep(70)
        assert len(callee) == 0

    virtual_time.run(main())


def test_a_lost_connection_is_told_where_nothing_came_yet() -> None:
    async def main() -> None:
        pair = Pair(lambda sender, data: True, Transport.TCP)
        first, second = pair.begin("OPTIONS"), pair.begin("INVITE")
        pair.caller.lose_transport(Hop(Transport.TCP, "10.0.0.9", 5060))
        pair.caller.lose_transport(pair.there)
        for client in (first, second):
            with pytest.raises(SipTransportFailed):
                await client.next_response()
        assert len(pair.caller) == 0
        ringing = Pair(transport=Transport.TCP)
        client = ringing.begin("INVITE")
        server = await ringing.came.get()
        server.respond(server.response(180))
        await client.next_response()
        ringing.caller.lose_transport(ringing.there)
        server.respond(server.response(486))
        assert (await client.final_response()).code == 486
        await ringing.silence()

    virtual_time.run(main())


def test_nobody_waits_for_a_layer_that_closed() -> None:
    async def main() -> None:
        pair = Pair()
        client = pair.begin("INVITE")
        server = await pair.came.get()
        server.respond(server.response(200))
        await client.next_response()
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(_outcome(client.next_response()))]
            waiting.append(tasks.create_task(_outcome(server.acknowledged())))
            await asyncio.sleep(0)
            pair.caller.close()
            pair.callee.close()
        assert [task.result() for task in waiting] == ["SipTransportFailed", "None"]
        sent = len(pair.network.log)
        client.cancel()
        server.respond(server.response(500))
        await pair.silence()
        assert len(pair.network.log) == sent

    virtual_time.run(main())


async def _outcome(work: Coroutine[Any, Any, object]) -> str:
    try:
        return str(await work)
    except SipTransportFailed as error:
        return type(error).__name__


def test_provisional_responses_that_nobody_fetches_are_bounded() -> None:
    async def main() -> None:
        pair = Pair()
        client = pair.begin("INVITE")
        server = await pair.came.get()
        for _ in range(500):
            server.respond(server.response(180))
        await asyncio.sleep(1)
        server.respond(server.response(603))
        await asyncio.sleep(1)
        count = 0
        while await client.next_response() is not None:
            count += 1
        assert count == 33
        await pair.silence()

    virtual_time.run(main())


def test_this_side_speaks_only_what_it_is_told() -> None:
    async def main() -> None:
        pair = Pair()
        layer: TransactionLayer = pair.caller
        with pytest.raises(SipTransportFailed):
            layer.begin(new_request("OPTIONS", URI), Hop(Transport.TLS, "10.0.0.2", 5061))
        assert len(layer) == 0

    virtual_time.run(main())
