"""Everything that SIP messages travel by: one UDP port, and connections over TCP and TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

from media.errors import ConfigError
from signaling.sip.counts import SipCounts
from signaling.sip.errors import SipTransportFailed
from signaling.sip.framing import PING
from signaling.sip.hop import Hop, Transport, host_text
from signaling.sip.settings import SipTransportSettings
from signaling.sip.tcp import Connection
from signaling.sip.tls import client_context, server_context
from signaling.sip.udp import UdpPort, open_udp_port

log = logging.getLogger(__name__)

_HANDSHAKE_S = 10.0
_HANDSHAKE_EVERY_S = 0.02
"""Each takes most of a millisecond of the thread that carries the calls' voices: whoever connects again and
again waits in line, in the system's backlog."""
_ACCEPT_AGAIN_S = 1.0
"""After the system had no socket to give."""
_BACKLOG = 64
_RESPONSE = b"SIP/2.0 "
_KEEPALIVE = b"\r\n\0"
"""All that a keepalive over UDP is made of."""
_MAX_KNOWN_ROUTES = 256


class Transports:
    """Opens its ports when it is entered, and closes all when it is left.

    Args:
        settings: which ports, and how many connections.
        admits: whether an address may send requests. Asked before anything is read.
        on_message: told of each message: its bytes, and where they came from. Must not raise.
        on_lost: told of each connection that is gone.
        counts: where strangers are counted.
    """

    def __init__(
        self,
        settings: SipTransportSettings,
        admits: Callable[[str], bool],
        on_message: Callable[[bytes, Hop], None],
        on_lost: Callable[[Hop], None],
        counts: SipCounts,
    ) -> None:
        self._settings = settings
        self._admits = admits
        self._on_message = on_message
        self._on_lost = on_lost
        self._counts = counts
        self._udp: UdpPort | None = None
        self._bound: dict[Transport, tuple[str, int]] = {}
        """Address and port of each that this side speaks."""
        self._client_tls: ssl.SSLContext | None = None
        self._connections: list[Connection] = []
        self._opening = 0
        """Connections of this side's that are not ready yet."""
        self._taking_in: dict[asyncio.Task[None], None] = {}
        """Connections of others that are not ready yet, the oldest first: who shakes hands over TLS."""
        self._connecting: dict[Hop, asyncio.Lock] = {}
        self._routes: dict[str, str] = {}
        """Address of ours by address of theirs."""
        self._tasks = asyncio.TaskGroup()
        self._under_way: set[asyncio.Task[None]] = set()
        self._closing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises: ConfigError: a port cannot be bound, or a certificate cannot be used."""
        async with AsyncExitStack() as undo:
            listening = await self._open_ports(undo)
            undo.push_async_callback(self._close_connections)
            await undo.enter_async_context(self._tasks)
            undo.push_async_callback(self._end_tasks)
            self._stack = undo.pop_all()
        for listener, transport, context in listening:
            accept = partial(self._accept, listener, transport, context)
            self._start(accept, f"sip {transport.value} accept")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not as the group of tasks would have it: an error of the block's own stays as it is.
        await self._stack.aclose()

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    # What is sent

    def send(self, data: bytes, hop: Hop, otherwise: Hop | None = None) -> None:
        """See `wire.Wire`."""
        if hop.transport is Transport.UDP:
            if self._udp is not None:
                self._udp.send(data, hop)
        elif (connection := self._connection_to(hop)) is not None:
            connection.send(data)
        elif not self._closing:
            self._start(partial(self._send_over_new, data, hop, otherwise or hop), "sip connect")

    async def open(self, hop: Hop) -> Hop:
        """Makes sure that something leads there: a connection that there is, or a new one.

        Returns:
            the hop as messages that come from there have it.

        Raises:
            SipTransportFailed: nobody is there, or this side does not speak the transport.
        """
        self._check_spoken(hop)
        if hop.transport is Transport.UDP:
            return hop
        lock = self._connecting.setdefault(hop, asyncio.Lock())
        try:
            async with lock:
                connection = self._connection_to(hop) or await self._connect(hop)
        finally:
            if not lock.locked():
                self._connecting.pop(hop, None)
        return connection.hop

    def ping(self, hop: Hop) -> None:
        """Keeps the way there open through a NAT (RFC 5626, section 3.5.1; over UDP as is the custom).

        Raises:
            SipTransportFailed: the connection is gone.
        """
        if hop.transport is Transport.UDP:
            self.send(PING, hop)
        elif (connection := self._connection_to(hop)) is not None:
            connection.send(PING)
        else:
            raise SipTransportFailed("The connection to the far side was lost.")

    # Where this side is

    def sent_by(self, hop: Hop) -> str:
        """See `wire.Wire`."""
        ip = self._settings.advertised_address or self.local_ip(hop)
        return f"{host_text(ip)}:{self._check_spoken(hop)[1]}"

    def port(self, transport: Transport) -> int | None:
        """The port, once it is open; None where this side does not speak the transport."""
        bound = self._bound.get(transport)
        return None if bound is None else bound[1]

    def local_ip(self, hop: Hop) -> str:
        """The address of ours that leads there, in figures.

        Raises:
            SipTransportFailed: none does.
        """
        ip, _ = self._check_spoken(hop)
        if not ipaddress.ip_address(ip).is_unspecified:
            return ip
        if hop.ip not in self._routes:
            if len(self._routes) >= _MAX_KNOWN_ROUTES:
                self._routes.clear()
            self._routes[hop.ip] = _route_to(hop)
        return self._routes[hop.ip]

    def _check_spoken(self, hop: Hop) -> tuple[str, int]:
        bound = self._bound.get(hop.transport)
        if bound is None:
            raise SipTransportFailed(f"SIP over {hop.transport.value} has no port here: see section sip.")
        if (":" in bound[0]) != (":" in hop.ip):
            raise SipTransportFailed(f"{hop.ip} is of another family of addresses than sip.host.")
        return bound

    # Ports

    async def _open_ports(
        self, undo: AsyncExitStack
    ) -> list[tuple[socket.socket, Transport, ssl.SSLContext | None]]:
        """Returns what is to be listened at."""
        settings = self._settings
        self._client_tls = client_context(settings)
        listening: list[tuple[socket.socket, Transport, ssl.SSLContext | None]] = []
        if settings.udp_port is not None:
            with _port_errors(settings, "udp_port"):
                self._udp = await open_udp_port(settings.host, settings.udp_port, self._datagram_came)
            undo.push_async_callback(self._udp.close)
            self._bound[Transport.UDP] = self._udp.address
        if settings.tcp_port is not None:
            with _port_errors(settings, "tcp_port"):
                listening.append((_listen(settings.host, settings.tcp_port), Transport.TCP, None))
            undo.callback(listening[-1][0].close)
        if settings.tls_port is not None:
            context = server_context(settings)
            with _port_errors(settings, "tls_port"):
                listening.append((_listen(settings.host, settings.tls_port), Transport.TLS, context))
            undo.callback(listening[-1][0].close)
        for listener, transport, _ in listening:
            self._bound[transport] = listener.getsockname()[:2]
        return listening

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        task = self._tasks.create_task(_bounded(work, name), name=name)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _end_tasks(self) -> None:
        self._closing = True
        tasks = set(self._under_way)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _close_connections(self) -> None:
        for connection in tuple(self._connections):
            await connection.close()

    # Connections that come in

    async def _accept(
        self, listener: socket.socket, transport: Transport, context: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("SIP connection not accepted", extra={"reason": str(error)})
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            if not self._admits(address[0]) or not self._has_room():
                self._counts.refused += 1
                sock.close()
                continue
            self._take_in(sock, Hop(transport, address[0], address[1]), context)
            if context is not None:
                await asyncio.sleep(_HANDSHAKE_EVERY_S)

    def _has_room(self) -> bool:
        """Whether one more connection may be. Where there are enough, a stranger's gives way: the first of
        those over which nothing was ever answered (`known`), or else the first that still shakes hands."""
        so_far = len(self._connections) + len(self._taking_in) + self._opening
        if so_far < self._settings.max_connections:
            return True
        stranger = next((connection for connection in self._connections if not connection.known), None)
        if stranger is not None:
            self._connections.remove(stranger)
            stranger.cut()
        elif self._taking_in:
            slowest = next(iter(self._taking_in))
            del self._taking_in[slowest]
            slowest.cancel()
        else:
            return False
        self._counts.refused += 1
        return True

    def _take_in(self, sock: socket.socket, hop: Hop, context: ssl.SSLContext | None) -> None:
        unowned = ExitStack()
        unowned.callback(sock.close)

        def settled(task: asyncio.Task[None]) -> None:
            self._taking_in.pop(task, None)
            unowned.close()  # it may have given way before it began

        task = self._start(partial(self._establish, sock, hop, context, unowned), "sip connection")
        self._taking_in[task] = None
        task.add_done_callback(settled)

    async def _establish(
        self, sock: socket.socket, hop: Hop, context: ssl.SSLContext | None, unowned: ExitStack
    ) -> None:
        unowned.pop_all()  # the loop closes it from now on
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self, hop, self._settings.idle_timeout_s, incoming=True),
                sock,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_S if context else None,
            )
        except OSError as error:
            # Counted, not told at length: what scans the net for TLS comes by the thousand.
            self._counts.refused += 1
            log.debug("SIP connection not established", extra={"reason": str(error)})

    # Connections that go out

    def _connection_to(self, hop: Hop) -> Connection | None:
        """One that leads to the place, and to whom is meant: by name, or to whoever has the address."""
        for connection in self._connections:
            there = connection.hop
            same_place = (there.transport, there.ip, there.port) == (hop.transport, hop.ip, hop.port)
            if same_place and hop.name in (there.name, "", hop.ip):
                return connection
        return None

    async def _connect(self, hop: Hop) -> Connection:
        tls = hop.transport is Transport.TLS
        name = _certified_name(hop) if tls else None
        if not self._has_room():
            raise SipTransportFailed("There are as many SIP connections as sip.max_connections allows.")
        self._opening += 1
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self, hop, self._settings.idle_timeout_s, incoming=False),
                    hop.ip,
                    hop.port,
                    ssl=self._client_tls if tls else None,
                    server_hostname=name,
                )
        except (OSError, TimeoutError) as error:
            reason = str(error) or "it did not answer"
            raise SipTransportFailed(
                f"No SIP connection to {host_text(hop.ip)}:{hop.port}: {reason}."
            ) from error
        finally:
            self._opening -= 1
        return connection

    async def _send_over_new(self, data: bytes, lost: Hop, hop: Hop) -> None:
        """In the background: a response or an ACK whose connection is gone."""
        try:
            await self.open(hop)
        except SipTransportFailed as error:
            log.info("SIP message not sent", extra={"reason": str(error)})
            self._on_lost(lost)
            return
        connection = self._connection_to(hop)
        if connection is not None:
            connection.send(data)

    # What comes

    def _datagram_came(self, data: bytes, hop: Hop) -> None:
        # A response is looked at all the same: only one to a request of ours has its branch, and none is
        # ever answered.
        if not data.startswith(_RESPONSE) and not self._admits(hop.ip):
            self._counts.refused += 1
        elif data.strip(_KEEPALIVE):
            self._on_message(data, hop)

    def message_came(self, data: bytes, connection: Connection) -> None:
        """See `tcp.ConnectionHolder`."""
        if connection.known or self._admits(connection.hop.ip):
            self._on_message(data, connection.hop)
        else:
            self._counts.refused += 1
            connection.cut()

    def connection_opened(self, connection: Connection) -> None:
        """See `tcp.ConnectionHolder`."""
        self._connections.append(connection)

    def connection_closed(self, connection: Connection) -> None:
        """See `tcp.ConnectionHolder`."""
        if connection in self._connections:  # it has not given way to another
            self._connections.remove(connection)
        self._on_lost(connection.hop)


async def _bounded(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """What is wrong with one connection must not end all others, nor the server that has them."""
    try:
        await work()
    except Exception:
        log.exception("what concerns one SIP connection failed", extra={"what": name})


def _certified_name(hop: Hop) -> str:
    """What a far side's certificate must name.

    Raises:
        SipTransportFailed: it is no name by the rules of names; a Via may hold anything.
    """
    name = hop.name or hop.ip
    try:
        name.encode("idna")
    except UnicodeError:
        raise SipTransportFailed(f"{name[:64]} is no host's name.") from None
    return name


@contextmanager
def _port_errors(settings: SipTransportSettings, field: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"SIP cannot be spoken at {settings.host}, port {getattr(settings, field)}: {reason}.",
            param=f"sip.{field}",
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


def _route_to(hop: Hop) -> str:
    """No packet is sent for it."""
    family = socket.AF_INET6 if ":" in hop.ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((hop.ip, hop.port or 5060))
        except OSError as error:
            raise SipTransportFailed(f"No network leads to {hop.ip}.") from error
        ip: str = sock.getsockname()[0]
        return ip
