"""The four transaction machines: every cell of every table, legal or not, over UDP and over TCP."""

from __future__ import annotations

import itertools
from enum import Enum
from typing import Any, get_args

import pytest

from media.floor_table import IllegalEvent, mermaid
from signaling.sip.client_transactions import (
    CLIENT_TABLE,
    INVITE_CLIENT_TABLE,
    Client,
    ClientState,
    InviteClient,
    InviteClientState,
)
from signaling.sip.server_transactions import (
    INVITE_SERVER_TABLE,
    SERVER_TABLE,
    InviteServer,
    InviteServerState,
    Server,
    ServerState,
)
from signaling.sip.transactions import (
    Acknowledged,
    Arm,
    CancelAsked,
    ClientEvent,
    Conclude,
    Deliver,
    DeliverAck,
    Disarm,
    Failure,
    Ignored,
    Provisional,
    Repeated,
    SendAck,
    SendCancel,
    SendRequest,
    SendResponse,
    SendTrying,
    ServerEvent,
    Success,
    TellTimeout,
    TellTransportLost,
    TellUnacknowledged,
    TimerA,
    TimerB,
    TimerD,
    TimerE,
    TimerF,
    TimerG,
    TimerH,
    TimerI,
    TimerJ,
    TimerK,
    TimerL,
    TimerM,
    TimerRepeat,
    Timers,
    TimerTrying,
    TransportLost,
)

TIMERS = Timers()
PROVISIONAL, SUCCESS, FAILURE, LOST = Provisional(), Success(), Failure(), TransportLost()
CANCEL, REPEATED, ACKNOWLEDGED, IGNORED = CancelAsked(), Repeated(), Acknowledged(), Ignored()

Cell = tuple[Enum, Any]
Cells = dict[Cell, tuple[Enum, tuple[Any, ...]]]

# The INVITE client

IC = InviteClientState
QUIET = (Disarm(TimerA()), Disarm(TimerB()))
CANCELLED = (SendCancel(), Arm(TimerB(), 32.0))
INVITE_CLIENT_PATHS: dict[Enum, tuple[Any, ...]] = {
    IC.CALLING: (),
    IC.WITHDRAWING: (CANCEL,),
    IC.PROCEEDING: (PROVISIONAL,),
    IC.CANCELLED: (PROVISIONAL, CANCEL),
    IC.COMPLETED: (FAILURE,),
    IC.ACCEPTED: (SUCCESS,),
    IC.TERMINATED: (TimerB(),),
}


def invite_client_cells(linger_s: float) -> Cells:
    accepted = (*QUIET, Deliver(), Arm(TimerM(), 32.0))
    refused = (*QUIET, SendAck(), Deliver(), Conclude(), Arm(TimerD(), linger_s))
    cells: Cells = {
        (IC.CALLING, PROVISIONAL): (IC.PROCEEDING, (*QUIET, Deliver())),
        (IC.CALLING, CANCEL): (IC.WITHDRAWING, ()),
        (IC.WITHDRAWING, PROVISIONAL): (IC.CANCELLED, (*QUIET, Deliver(), *CANCELLED)),
        (IC.WITHDRAWING, CANCEL): (IC.WITHDRAWING, ()),
        (IC.PROCEEDING, PROVISIONAL): (IC.PROCEEDING, (Deliver(),)),
        (IC.PROCEEDING, CANCEL): (IC.CANCELLED, CANCELLED),
        (IC.PROCEEDING, LOST): (IC.PROCEEDING, ()),
        (IC.CANCELLED, PROVISIONAL): (IC.CANCELLED, (Deliver(),)),
        (IC.CANCELLED, CANCEL): (IC.CANCELLED, ()),
        (IC.CANCELLED, LOST): (IC.CANCELLED, ()),
        (IC.CANCELLED, TimerB()): (IC.TERMINATED, (Disarm(TimerA()), TellTimeout())),
        (IC.COMPLETED, PROVISIONAL): (IC.COMPLETED, ()),
        (IC.COMPLETED, SUCCESS): (IC.COMPLETED, ()),
        (IC.COMPLETED, FAILURE): (IC.COMPLETED, (SendAck(),)),
        (IC.COMPLETED, CANCEL): (IC.COMPLETED, ()),
        (IC.COMPLETED, LOST): (IC.COMPLETED, ()),
        (IC.COMPLETED, TimerD()): (IC.TERMINATED, ()),
        (IC.ACCEPTED, PROVISIONAL): (IC.ACCEPTED, ()),
        (IC.ACCEPTED, SUCCESS): (IC.ACCEPTED, (Deliver(),)),
        (IC.ACCEPTED, FAILURE): (IC.ACCEPTED, ()),
        (IC.ACCEPTED, CANCEL): (IC.ACCEPTED, ()),
        (IC.ACCEPTED, LOST): (IC.ACCEPTED, ()),
        (IC.ACCEPTED, TimerM()): (IC.TERMINATED, (Conclude(),)),
    }
    for state in (IC.CALLING, IC.WITHDRAWING):
        cells[state, LOST] = (IC.TERMINATED, (*QUIET, TellTransportLost()))
        cells[state, TimerA()] = (state, (SendRequest(), Arm(TimerA(), 1.0)))
        cells[state, TimerB()] = (IC.TERMINATED, (Disarm(TimerA()), TellTimeout()))
    for state in (IC.CALLING, IC.WITHDRAWING, IC.PROCEEDING, IC.CANCELLED):
        cells[state, SUCCESS] = (IC.ACCEPTED, accepted)
        cells[state, FAILURE] = (IC.COMPLETED, refused)
    return cells


# The client of other requests

C = ClientState
CLIENT_PATHS: dict[Enum, tuple[Any, ...]] = {
    C.TRYING: (),
    C.PROCEEDING: (PROVISIONAL,),
    C.COMPLETED: (SUCCESS,),
    C.TERMINATED: (TimerF(),),
}


def client_cells(linger_s: float) -> Cells:
    done = (Disarm(TimerE()), Disarm(TimerF()), Deliver(), Conclude(), Arm(TimerK(), linger_s))
    timeout = (C.TERMINATED, (Disarm(TimerE()), TellTimeout()))
    cells: Cells = {
        (C.TRYING, PROVISIONAL): (C.PROCEEDING, (Deliver(),)),
        (C.TRYING, LOST): (C.TERMINATED, (Disarm(TimerE()), Disarm(TimerF()), TellTransportLost())),
        (C.TRYING, TimerE()): (C.TRYING, (SendRequest(), Arm(TimerE(), 1.0))),
        (C.TRYING, TimerF()): timeout,
        (C.PROCEEDING, PROVISIONAL): (C.PROCEEDING, (Deliver(),)),
        (C.PROCEEDING, LOST): (C.PROCEEDING, ()),
        (C.PROCEEDING, TimerE()): (C.PROCEEDING, (SendRequest(), Arm(TimerE(), 4.0))),
        (C.PROCEEDING, TimerF()): timeout,
        (C.COMPLETED, TimerK()): (C.TERMINATED, ()),
    }
    for event in (SUCCESS, FAILURE):
        cells[C.TRYING, event] = (C.COMPLETED, done)
        cells[C.PROCEEDING, event] = (C.COMPLETED, done)
    for event in (PROVISIONAL, SUCCESS, FAILURE, LOST):
        cells[C.COMPLETED, event] = (C.COMPLETED, ())
    return cells


# The INVITE server

IS = InviteServerState
ANSWERED = (Disarm(TimerTrying()), SendResponse())
INVITE_SERVER_PATHS: dict[Enum, tuple[Any, ...]] = {
    IS.RECEIVED: (),
    IS.PROCEEDING: (PROVISIONAL,),
    IS.COMPLETED: (FAILURE,),
    IS.CONFIRMED: (FAILURE, ACKNOWLEDGED),
    IS.ACCEPTED: (SUCCESS,),
    IS.ACKNOWLEDGED: (SUCCESS, ACKNOWLEDGED),
    IS.TERMINATED: (IGNORED,),
}


def invite_server_cells(linger_s: float) -> Cells:
    accepted = (*ANSWERED, Arm(TimerRepeat(), 0.5), Arm(TimerL(), 32.0))
    again = (Arm(TimerG(), 0.5),) if linger_s else ()
    refused = (*ANSWERED, *again, Arm(TimerH(), 32.0))
    confirmed = (Disarm(TimerG()), Disarm(TimerH()), Arm(TimerI(), linger_s))
    cells: Cells = {
        (IS.RECEIVED, IGNORED): (IS.TERMINATED, (Disarm(TimerTrying()),)),
        (IS.RECEIVED, TimerTrying()): (IS.PROCEEDING, (SendTrying(),)),
        (IS.PROCEEDING, REPEATED): (IS.PROCEEDING, (SendResponse(),)),
        (IS.COMPLETED, REPEATED): (IS.COMPLETED, (SendResponse(),)),
        (IS.COMPLETED, ACKNOWLEDGED): (IS.CONFIRMED, confirmed),
        (IS.COMPLETED, TimerG()): (IS.COMPLETED, (SendResponse(), Arm(TimerG(), 1.0))),
        (IS.COMPLETED, TimerH()): (IS.TERMINATED, (Disarm(TimerG()), TellUnacknowledged())),
        (IS.CONFIRMED, TimerI()): (IS.TERMINATED, ()),
        (IS.ACCEPTED, ACKNOWLEDGED): (IS.ACKNOWLEDGED, (Disarm(TimerRepeat()), DeliverAck())),
        (IS.ACCEPTED, TimerRepeat()): (IS.ACCEPTED, (SendResponse(), Arm(TimerRepeat(), 1.0))),
        (IS.ACCEPTED, TimerL()): (IS.TERMINATED, (Disarm(TimerRepeat()), TellUnacknowledged())),
        (IS.ACKNOWLEDGED, TimerL()): (IS.TERMINATED, ()),
    }
    for state in (IS.RECEIVED, IS.PROCEEDING):
        cells[state, PROVISIONAL] = (IS.PROCEEDING, ANSWERED)
        cells[state, SUCCESS] = (IS.ACCEPTED, accepted)
        cells[state, FAILURE] = (IS.COMPLETED, refused)
    for state in (IS.RECEIVED, IS.CONFIRMED, IS.ACCEPTED, IS.ACKNOWLEDGED):
        cells[state, REPEATED] = (state, ())
    for state in (IS.RECEIVED, IS.PROCEEDING, IS.CONFIRMED, IS.ACKNOWLEDGED):
        cells[state, ACKNOWLEDGED] = (state, ())
    return cells


# The server of other requests

S = ServerState
SERVER_PATHS: dict[Enum, tuple[Any, ...]] = {
    S.TRYING: (),
    S.PROCEEDING: (PROVISIONAL,),
    S.COMPLETED: (SUCCESS,),
    S.TERMINATED: (IGNORED,),
}


def server_cells(linger_s: float) -> Cells:
    timeout_s = 32.0 if linger_s else 0.0
    done = (S.COMPLETED, (Disarm(TimerF()), SendResponse(), Arm(TimerJ(), timeout_s)))
    cells: Cells = {
        (S.TRYING, REPEATED): (S.TRYING, ()),
        (S.TRYING, IGNORED): (S.TERMINATED, (Disarm(TimerF()),)),
        (S.PROCEEDING, REPEATED): (S.PROCEEDING, (SendResponse(),)),
        (S.COMPLETED, REPEATED): (S.COMPLETED, (SendResponse(),)),
        (S.COMPLETED, TimerJ()): (S.TERMINATED, ()),
    }
    for state in (S.TRYING, S.PROCEEDING):
        cells[state, PROVISIONAL] = (S.PROCEEDING, (SendResponse(),))
        cells[state, SUCCESS] = done
        cells[state, FAILURE] = done
        cells[state, TimerF()] = (S.TERMINATED, ())
    return cells


Machine = InviteClient | Client | InviteServer | Server
MACHINES: dict[str, tuple[Any, ...]] = {
    "invite client": (InviteClient, IC, ClientEvent, INVITE_CLIENT_PATHS, invite_client_cells, 32.0),
    "client": (Client, C, ClientEvent, CLIENT_PATHS, client_cells, 5.0),
    "invite server": (InviteServer, IS, ServerEvent, INVITE_SERVER_PATHS, invite_server_cells, 5.0),
    "server": (Server, S, ServerEvent, SERVER_PATHS, server_cells, 5.0),
}
TABLES: dict[str, Any] = {
    "invite client": INVITE_CLIENT_TABLE,
    "client": CLIENT_TABLE,
    "invite server": INVITE_SERVER_TABLE,
    "server": SERVER_TABLE,
}


def events_of(union: object) -> list[Any]:
    return [event() for event in get_args(union)]


CASES = [
    pytest.param(
        name, reliable, state, event, id=f"{name}-{'TCP' if reliable else 'UDP'}-{state.name}-{event}"
    )
    for name, (_, states, union, *_) in MACHINES.items()
    for reliable, state, event in itertools.product((False, True), states, events_of(union))
]


@pytest.mark.parametrize(("name", "reliable", "state", "event"), CASES)
def test_a_cell(name: str, reliable: bool, state: Enum, event: Any) -> None:
    make, _, _, paths, cells_with, linger_s = MACHINES[name]
    cells = cells_with(0.0 if reliable else linger_s)
    machine = make(TIMERS, reliable)
    for step in paths[state]:
        machine.feed(step)
    assert machine.state is state
    if (state, event) not in cells:
        with pytest.raises(IllegalEvent, match=f"{type(event).__name__} is illegal in {state.name}"):
            machine.feed(event)
        assert machine.state is state
        return
    target, commands = cells[state, event]
    assert machine.feed(event) == commands
    assert machine.state is target


@pytest.mark.parametrize("name", MACHINES)
def test_the_cells_tested_are_the_table(name: str) -> None:
    _, _, _, _, cells_with, linger_s = MACHINES[name]
    table = TABLES[name]
    assert {(state, type(event)) for state, event in cells_with(linger_s)} == set(table)
    assert all(table[state, type(event)] is target for (state, event), (target, _) in cells_with(1).items())
    assert mermaid(table, next(iter(table))[0]).count("-->") > len(MACHINES[name][1])


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_from_the_network_is_illegal_while_a_transaction_lives(name: str) -> None:
    """What a stranger sends must raise nothing: only timers and our own answers can be out of place."""
    network = {
        "client": (Provisional, Success, Failure, TransportLost),
        "server": (Repeated,),
        "invite client": (Provisional, Success, Failure, TransportLost, CancelAsked),
        "invite server": (Repeated, Acknowledged),
    }[name]
    table = TABLES[name]
    for state in MACHINES[name][1]:
        if state.name != "TERMINATED":
            assert all((state, event) in table for event in network), state


@pytest.mark.parametrize("reliable", [False, True])
def test_what_the_machines_begin_with(reliable: bool) -> None:
    repeats = [] if reliable else [Arm(TimerA(), 0.5)]
    assert InviteClient(TIMERS, reliable).start() == (SendRequest(), *repeats, Arm(TimerB(), 32.0))
    repeats_of_others = [] if reliable else [Arm(TimerE(), 0.5)]
    assert Client(TIMERS, reliable).start() == (SendRequest(), *repeats_of_others, Arm(TimerF(), 32.0))
    assert InviteServer(TIMERS, reliable).start() == (Arm(TimerTrying(), 0.2),)
    assert Server(TIMERS, reliable).start() == (Arm(TimerF(), 32.0),)


def intervals_s(machine: Any, timer: Any, count: int) -> list[float]:
    found = [machine.feed(timer) for _ in range(count)]
    return [command.after_s for commands in found for command in commands if isinstance(command, Arm)]


def test_repetitions_slow_down_as_the_standard_says() -> None:
    assert intervals_s(InviteClient(TIMERS, False), TimerA(), 5) == [1, 2, 4, 8, 16]  # not capped: 17.1.1.2
    assert intervals_s(Client(TIMERS, False), TimerE(), 5) == [1, 2, 4, 4, 4]
    refused = InviteServer(TIMERS, False)
    refused.feed(FAILURE)
    assert intervals_s(refused, TimerG(), 5) == [1, 2, 4, 4, 4]
    for reliable in (False, True):  # section 13.3.1.4: a 2xx is repeated over any transport
        accepted = InviteServer(TIMERS, reliable)
        accepted.feed(SUCCESS)
        assert intervals_s(accepted, TimerRepeat(), 5) == [1, 2, 4, 4, 4]
