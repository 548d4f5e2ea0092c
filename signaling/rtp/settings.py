"""What an operator can set about telephones' media: `sip.rtp` in `config.yaml`."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from media.section import Section

CodecName = Literal["opus", "g722", "pcmu", "pcma"]
SrtpUse = Literal["off", "optional", "required"]
LatchingUse = Literal["never", "private", "always"]

_PORTS: Final = re.compile(r"(\d{1,5})-(\d{1,5})")
_FEWEST_PORTS: Final = 2


def _port_pairs(text: str) -> str:
    text = text.replace(" ", "")
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError('RTP ports are a range: "16384-17383"')
    first, last = int(match[1]), int(match[2])
    if not 1024 <= first <= 65_535 or not 1024 <= last <= 65_535:
        raise ValueError("an RTP port lies between 1024 and 65535")
    if last - first + 1 < _FEWEST_PORTS + first % 2:
        raise ValueError("each call takes two ports, of which the first is even: the range has no such pair")
    return text


def _each_once(codecs: tuple[CodecName, ...]) -> tuple[CodecName, ...]:
    if len(set(codecs)) != len(codecs):
        raise ValueError("a codec is named once")
    return codecs


class RtpSettings(Section):
    """Section `sip.rtp`: how a telephone's voice comes and goes."""

    ports: Annotated[str, BeforeValidator(str), AfterValidator(_port_pairs)] = "16384-17383"
    """Each call takes an even port for RTP and the odd one after it for RTCP."""
    codecs: Annotated[tuple[CodecName, ...], AfterValidator(_each_once)] = Field(
        ("opus", "g722", "pcmu", "pcma"), min_length=1
    )
    """What is offered and accepted, the best first."""
    srtp: SrtpUse = "optional"
    """Encrypted media by keys in the SDP (SDES); these are only as secret as the signalling (TLS)."""
    latching: LatchingUse = "private"
    """Whether media goes to where the far side's comes from instead of where its SDP says (symmetric RTP),
    for those behind a NAT; `private`: where the SDP names a private address."""
    timeout_s: float = Field(60.0, ge=5, le=3600)
    """A call without any packet from the far side for so long is over, unless it is on hold."""
    comfort_noise: bool = True
    """In silence, comfort noise (RFC 3389) is sent instead of silence where the far side agreed to it."""

    @property
    def port_range(self) -> range:
        """The ports that `ports` names."""
        first, last = self.ports.split("-")
        return range(int(first), int(last) + 1)
