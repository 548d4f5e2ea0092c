"""All routes of media streams that are configured."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from media.opus import OpusSettings
from signaling.phone.leg import Switchboard
from signaling.streams import answer_routes as answers
from signaling.streams import stream_routes as streams
from signaling.streams.answer_routes import AnswerRoutes
from signaling.streams.awaited import AwaitedStreams, Transfers
from signaling.streams.settings import StreamsSettings
from signaling.streams.stream_routes import StreamRoutes


def stream_routes(
    settings: StreamsSettings,
    switchboard: Switchboard,
    opus: Callable[[], OpusSettings] = OpusSettings,
) -> list[web.RouteDef]:
    """For `app.add_routes`. Each checks for itself who asks: `stream_paths` need no key.

    Args:
        settings: what is not on has no route.
        switchboard: takes the calls.
        opus: how Opus is encoded in calls that begin now.
    """
    awaited, transfers = AwaitedStreams(), Transfers()
    carried = StreamRoutes(settings, switchboard, awaited, transfers, opus)
    answered = AnswerRoutes(settings, switchboard, awaited, transfers)
    routes: list[web.RouteDef] = []
    if settings.twilio.on:
        routes += [
            web.get(streams.TWILIO_STREAM, carried.twilio),
            web.post(answers.TWILIO_VOICE, answered.twilio_voice),
            web.post(answers.TWILIO_AFTER, answered.twilio_after),
        ]
    if settings.telnyx.on:
        routes.append(web.get(streams.TELNYX_STREAM, carried.telnyx))
    if settings.telnyx.public_key:
        routes += [
            web.post(answers.TELNYX_VOICE, answered.telnyx_voice),
            web.post(answers.TELNYX_AFTER, answered.telnyx_after),
        ]
    if settings.plivo.on:
        routes.append(web.get(streams.PLIVO_STREAM, carried.plivo))
    if settings.plivo.auth_token is not None:
        routes += [
            web.post(answers.PLIVO_VOICE, answered.plivo_voice),
            web.post(answers.PLIVO_AFTER, answered.plivo_after),
        ]
    if settings.chan_websocket.on:
        routes.append(web.get(streams.ASTERISK_STREAM, carried.chan_websocket))
    return routes


def stream_paths(routes: list[web.RouteDef]) -> frozenset[str]:
    """Those that are open to whoever has no key."""
    return frozenset(route.path for route in routes)
