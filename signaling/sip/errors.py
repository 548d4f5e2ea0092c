"""What can go wrong between two SIP user agents, below the call itself."""

from __future__ import annotations

from media.errors import CallerError


class BadMessage(CallerError):
    """What came, or what was to be sent, is not SIP as this side understands it."""

    code = "bad_sip_message"


class SipTimeout(CallerError):
    """No answer came in the time that RFC 3261 gives it (64*T1: half a minute)."""

    code = "sip_timeout"


class SipTransportFailed(CallerError):
    """The far side cannot be reached: its name has no address, or its port takes no connection."""

    code = "sip_unreachable"
