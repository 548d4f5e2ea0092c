"""The telephone in this server: what brings calls and places them, as far as it is configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

from server.config import Config
from server.sip_agent import sip_agent, sip_report
from server.telephone_metrics import TelephoneMetrics
from signaling.call_host import CallHost
from signaling.phone.call_starter import PhoneCallStarter
from signaling.phone.leg import Dialler
from signaling.phone.record import CallRecords
from signaling.phone.routes import phone_routes
from signaling.running_calls import RunningCalls
from signaling.sip.user_agent import SipUserAgent
from signaling.streams.audiosocket import audiosocket_listening
from signaling.streams.routes import stream_paths, stream_routes
from signaling.streams.settings import StreamsSettings


class Telephone:
    """What the parts of the telephone share, and what the rest of the server asks them.

    Attributes:
        calls: where all calls are listed, whatever carries them.
        starter: takes calls that come, and places calls.
        dialler: places them; None: nothing can.
        sip: while it runs; None: SIP is off.
        audiosocket_port: where Asterisk connects; None: nowhere.

    Args:
        host: the server.
        calls: listed by their ids.
        watcher: counts telephone calls.
        streams: which providers' streams bring calls.
    """

    def __init__(
        self,
        host: CallHost,
        calls: RunningCalls,
        watcher: TelephoneMetrics | None = None,
        streams: StreamsSettings | None = None,
    ) -> None:
        self.calls = calls
        self.starter = PhoneCallStarter(host, calls, CallRecords(watcher))
        self.dialler: Dialler | None = None
        self.sip: SipUserAgent | None = None
        self._host = host
        if watcher is not None:
            watcher.registrations = self._registrations
        self.audiosocket_port: int | None = None
        self._streams = streams or StreamsSettings()
        self._stream_routes = stream_routes(self._streams, self.starter, lambda: host.settings.opus)

    @property
    def open_paths(self) -> frozenset[str]:
        """Of routes that check for themselves who calls: providers of media streams have no key."""
        return stream_paths(self._stream_routes)

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Names by which providers call this server."""
        return () if self._streams.public_host is None else (self._streams.public_host,)

    def routes(self) -> list[web.RouteDef]:
        """For `app.add_routes`."""
        calls = phone_routes(self._host, self.calls, self.starter, lambda: self.dialler)
        return [*calls, *self._stream_routes]

    @property
    def report(self) -> dict[str, Any]:
        """For `/status`, JSON-able."""
        return {
            "outbound_calls": self.starter.records.outbound,
            "sip": None if self.sip is None else sip_report(self.sip),
        }

    @asynccontextmanager
    async def running(self, config: Config) -> AsyncIterator[None]:
        """Takes calls of telephones until the block ends; calls that go on then have been drained.

        Raises:
            ConfigError: a port cannot be bound, a certificate cannot be read.
        """
        async with AsyncExitStack() as stack:
            if config.sip.enabled:
                self.sip = await stack.enter_async_context(sip_agent(config, self._host, self.starter))
                self.dialler = self.sip
            listening = audiosocket_listening(self._streams, self.starter)
            self.audiosocket_port = await stack.enter_async_context(listening)
            yield

    def _registrations(self) -> Counter[str]:
        """How many there are in each state."""
        return (
            Counter()
            if self.sip is None
            else Counter(one.state.name.lower() for one in self.sip.registrations)
        )
