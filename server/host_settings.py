"""The section of `voxtral-kokoro engines`: where these engines are served to other machines."""

from __future__ import annotations

from pydantic import Field

from media.section import Section
from server.settings import Port


class EngineHostSettings(Section):
    """Section `engine_host`. Keys, TLS, names and draining are as section `server` has them.

    Attributes:
        host: address to serve at; 0.0.0.0 for all networks.
        port: to serve at.
        max_transcriptions: under way at once; further ones are refused with 503.
        max_replies: the same.
        max_clauses: the same.
        max_body_bytes: a larger request gets 413.
    """

    host: str = "127.0.0.1"
    port: Port = 8010
    max_transcriptions: int = Field(default=4, ge=1, le=1000)
    max_replies: int = Field(default=4, ge=1, le=1000)
    max_clauses: int = Field(default=4, ge=1, le=1000)
    max_body_bytes: int = Field(default=26_214_400, ge=65_536, le=1_073_741_824)
