"""A program that speaks the Model Context Protocol over its standard input and output, for the SDK's client.

In place of the SDK's own transport: what the program writes is bounded here, and it is ended whatever comes
amid ending it. The SDK reads on until a program has ended; where its task is cancelled meanwhile, it leaves
the program running and reads for ever, and keeps the loop from the callers' audio.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]

_GRACE_S = 2.0
"""For a program to end by itself once its input is closed; then again once it has been asked to."""

_LAST_LINES_LIMIT_S = 0.2
"""For what a program that has ended wrote; what it started may keep the file open."""

_LONGEST_LINE_BYTES = 16 * 1024 * 1024
"""Of its output: one line is one message."""

_BABBLE_LIMIT = 100
"""Lines on a program's standard output that are no messages. Some say a word or two there."""

_CHUNK_BYTES = 65_536
_UNREAD_BYTES = 1024 * 1024
"""Of its output and of its errors each: up to twice as much is read ahead, then the program has to wait."""

_ERROR_LINES_LIMIT = 100
_ERRORS_PAUSE_S = 0.01
"""After a chunk of errors, of which the last lines are noted: no flood of them takes the loop for itself."""


@asynccontextmanager
async def program(
    command: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    note: Callable[[str], None],
    ended: Callable[[], None],
) -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """A program, started, and its messages. It ends with the block; cancelled amid that, it is killed.

    Args:
        command: the program.
        arguments: the program's.
        environment: besides PATH, HOME and the like.
        note: called with each line that it writes to its standard error.
        ended: called when it closes its standard output, or is ended because it does not speak the protocol:
            a client would notice only when it asks.

    Raises:
        OSError: it cannot be started.
    """
    loop = asyncio.get_running_loop()
    try:
        process, pipes = await loop.subprocess_exec(
            lambda: _Pipes(loop),
            command,
            *arguments,
            env=get_default_environment() | dict(environment),
            start_new_session=True,
        )
    except FileNotFoundError as error:  # uvloop's does not say which
        raise FileNotFoundError(error.errno, error.strerror, command) from None
    to_client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
    outgoing, from_client = anyio.create_memory_object_stream[SessionMessage]()

    def gone() -> None:
        to_client.close()
        ended()

    def babbles() -> None:
        _signal(process, signal.SIGKILL)
        note("it writes to its standard output what is no message")
        gone()

    try:
        with to_client, incoming, outgoing, from_client:
            async with asyncio.TaskGroup() as tasks:
                noting = tasks.create_task(_note_errors(pipes, note), name=f"{command}: errors")
                reading = tasks.create_task(_read(pipes, to_client, gone, babbles), name=f"{command}: output")
                writing = tasks.create_task(_write(pipes, from_client, gone), name=f"{command}: input")
                try:
                    yield incoming, outgoing
                finally:
                    reading.cancel()
                    writing.cancel()
                    await _end(process, pipes)
                    await asyncio.wait({noting}, timeout=_LAST_LINES_LIMIT_S)
                    noting.cancel()
    finally:
        process.close()


class _Pipes(SubprocessStreamProtocol):
    """A program's three files, and its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_UNREAD_BYTES, loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


async def _note_errors(pipes: _Pipes, note: Callable[[str], None]) -> None:
    assert pipes.stderr is not None
    unread = b""
    while chunk := await pipes.stderr.read(_CHUNK_BYTES):
        *lines, unread = (unread + chunk).split(b"\n")
        unread = unread[-_CHUNK_BYTES:]
        for line in lines[-_ERROR_LINES_LIMIT:]:
            if text := line.decode(errors="replace").strip():
                note(text)
        await asyncio.sleep(_ERRORS_PAUSE_S)


async def _read(
    pipes: _Pipes,
    to_client: MemoryObjectSendStream[SessionMessage | Exception],
    gone: Callable[[], None],
    babbles: Callable[[], None],
) -> None:
    """Hands its messages on; stops for good at its end, or where it does not speak the protocol."""
    assert pipes.stdout is not None
    unread = bytearray()
    babble = 0
    try:
        while chunk := await pipes.stdout.read(_CHUNK_BYTES):
            unread += chunk
            if b"\n" in chunk:
                *lines, unread = unread.split(b"\n")
                for line in lines:
                    message = _message_in(line)
                    if message is not None:
                        await to_client.send(message)
                        continue
                    babble += 1
                    if babble > _BABBLE_LIMIT:
                        break
            if babble > _BABBLE_LIMIT or len(unread) > _LONGEST_LINE_BYTES:
                babbles()
                return
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # the client takes no more
    gone()


def _message_in(line: bytes | bytearray) -> SessionMessage | None:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError:
        return None


async def _write(
    pipes: _Pipes,
    from_client: MemoryObjectReceiveStream[SessionMessage],
    gone: Callable[[], None],
) -> None:
    assert pipes.stdin is not None
    try:
        async for sent in from_client:
            text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
            if pipes.stdin.is_closing():  # which asyncio says when it drains, uvloop in another way
                raise BrokenPipeError
            pipes.stdin.write(text.encode() + b"\n")
            await pipes.stdin.drain()
    except ConnectionError:
        gone()


async def _end(process: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
    """Ends it as the protocol has it: its input is closed, it is asked to end, it is killed."""
    assert pipes.stdin is not None
    pipes.stdin.close()
    try:
        for last in (False, True):
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await pipes.exited.wait()
                    return
            if not last:
                _signal(process, signal.SIGTERM)
    finally:
        if not pipes.exited.is_set():
            _signal(process, signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await pipes.exited.wait()
        if _unsent_bytes(pipes.stdin.transport):  # what it started may keep its input open, unread
            pipes.stdin.transport.abort()


def _unsent_bytes(transport: asyncio.WriteTransport) -> int:
    try:
        return transport.get_write_buffer_size()
    except RuntimeError:  # uvloop: it is closed
        return 0


def _signal(process: asyncio.SubprocessTransport, number: signal.Signals) -> None:
    """To the program and to what it started, which are one group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.get_pid(), number)
