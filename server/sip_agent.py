"""The SIP user agent of this server, from its configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from media.errors import CallerError
from server.config import Config
from signaling.call_host import CallHost
from signaling.phone.destinations import destination, is_allowed
from signaling.phone.leg import Switchboard
from signaling.rtp.media import RtpMedia
from signaling.rtp.socket import RtpPorts
from signaling.sip.user_agent import SipUserAgent


def sip_agent(config: Config, host: CallHost, switchboard: Switchboard) -> SipUserAgent:
    """Made, and not running yet.

    Args:
        config: with section `sip`.
        host: whose present settings say where calls may be redirected to.
        switchboard: takes the calls that come.
    """
    ports = RtpPorts(config.sip.rtp.port_range)

    def media(address: str, advertised: str | None, far_side: str) -> RtpMedia:
        return RtpMedia(config.sip.rtp, ports, address, advertised, far_side, host.settings.opus)

    def may_call(target: str) -> bool:
        telephone = host.settings.telephone
        try:
            wanted = destination(target)
        except CallerError:
            return False
        return is_allowed(wanted, telephone.allowed_destinations, telephone.denied_destinations)

    return SipUserAgent(config.sip, switchboard, media, may_call=may_call)


def sip_report(agent: SipUserAgent) -> dict[str, Any]:
    """For `/status`, JSON-able."""
    return {
        "calls": agent.calls,
        "transactions": agent.endpoint.transactions,
        "messages": asdict(agent.endpoint.counts),
        "registrations": [
            {
                "uri": status.uri,
                "state": status.state.value,
                "until": None if status.until_s is None else round(status.until_s),
                "trouble": status.trouble or None,
            }
            for status in agent.registrations
        ],
    }
