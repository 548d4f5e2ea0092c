"""What an operator can set about media streams: section `streams` of `config.yaml`."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from media.section import Section
from signaling.settings import Origin

ED25519_KEY_BYTES: Final = 32

IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")


def _secret(secret: SecretStr | None) -> SecretStr | None:
    """Without the line end that a file or a shell added; empty is none."""
    text = secret.get_secret_value().strip() if secret is not None else ""
    return SecretStr(text) if text else None


def _token(token: SecretStr | None) -> SecretStr | None:
    """Raises: ValueError."""
    token = _secret(token)
    if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("a stream's token has 16 to 256 letters, figures and . _ ~ -")
    return token


def _public_key(text: str) -> str:
    """Raises: ValueError."""
    text = text.strip()
    try:
        sound = not text or len(base64.b64decode(text, validate=True)) == ED25519_KEY_BYTES
    except binascii.Error:
        sound = False
    if not sound:
        raise ValueError("a public key is 32 bytes in base64, as Telnyx's portal shows it")
    return text


Secret = Annotated[SecretStr | None, AfterValidator(_secret)]
StreamToken = Annotated[SecretStr | None, AfterValidator(_token)]
"""What a stream's address ends with, `?token=…`, where nothing signs the stream itself."""
PublicKey = Annotated[str, AfterValidator(_public_key)]


class TwilioSettings(Section):
    """Twilio Media Streams, over `<Connect><Stream>`. On where there is an `auth_token`.

    Attributes:
        auth_token: the account's: it signs all that Twilio asks here.
    """

    auth_token: Secret = None

    @property
    def on(self) -> bool:
        return self.auth_token is not None


class TelnyxSettings(Section):
    """Telnyx media streaming. On where there is a `public_key` or a `stream_token`.

    Attributes:
        public_key: the account's, in base64: what its webhooks are signed with. Where there is one,
            `POST /telnyx/voice` answers calls with TeXML.
        stream_token: for streams whose address was not given out by that: `…/telnyx/stream?token=…`.
        l16_byte_order: of uncompressed samples: RFC 3551 says big-endian, and Telnyx was seen to send little.
    """

    public_key: PublicKey = ""
    stream_token: StreamToken = None
    l16_byte_order: Literal["little", "big"] = "little"

    @property
    def on(self) -> bool:
        return bool(self.public_key) or self.stream_token is not None


class PlivoSettings(Section):
    """Plivo audio streaming. On where there is an `auth_token` or a `stream_token`.

    Attributes:
        auth_token: the account's: its webhooks are signed with it. Where there is one, `POST /plivo/voice`
            answers calls.
        stream_token: for streams whose address was not given out by that: `…/plivo/stream?token=…`.
    """

    auth_token: Secret = None
    stream_token: StreamToken = None

    @property
    def on(self) -> bool:
        return self.auth_token is not None or self.stream_token is not None


class AudioSocketSettings(Section):
    """Asterisk's AudioSocket, over TCP. On where there is a `port`.

    Nothing of it is encrypted or signed: whoever reaches the port from one of the networks may call.

    Attributes:
        port: to listen on; null: off.
        host: address to listen on; empty for all.
        networks: from which calls are taken.
        most_connections: at a time, calls and those that are not calls yet.
    """

    port: int | None = Field(default=None, ge=0, le=65_535)
    host: str = "127.0.0.1"
    networks: tuple[IpNetwork, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
    most_connections: int = Field(default=100, ge=1, le=10_000)

    @property
    def on(self) -> bool:
        return self.port is not None


class ChanWebSocketSettings(Section):
    """Asterisk's chan_websocket, at `/asterisk/stream`. On where there is a network or a password.

    Attributes:
        networks: from which calls are taken; none: from everywhere, and the password decides.
        password: as in Asterisk's `websocket_client.conf`, with any user name.
    """

    networks: tuple[IpNetwork, ...] = ()
    password: Secret = None

    @property
    def on(self) -> bool:
        return bool(self.networks) or self.password is not None


class StreamsSettings(Section):
    """Section `streams`: telephone calls whose audio comes over a provider's socket.

    Attributes:
        public_origin: as the providers reach this server: `https://voice.example.org`. Signatures are checked
            against it, and it is the address that answers name.
        ahead_ms: so much of the voice is sent before it is due: the far side's buffer against an uneven
            network, and what is thrown away when the caller interrupts. AudioSocket: 60 at most.
    """

    public_origin: Origin | None = None
    ahead_ms: int = Field(default=100, ge=20, le=1000)
    twilio: TwilioSettings = TwilioSettings()
    telnyx: TelnyxSettings = TelnyxSettings()
    plivo: PlivoSettings = PlivoSettings()
    audiosocket: AudioSocketSettings = AudioSocketSettings()
    chan_websocket: ChanWebSocketSettings = ChanWebSocketSettings()

    @model_validator(mode="after")
    def _is_reached(self) -> StreamsSettings:
        answers = {
            "twilio": self.twilio.on,
            "telnyx": bool(self.telnyx.public_key),
            "plivo": self.plivo.auth_token is not None,
        }
        needy = [name for name, wanted in answers.items() if wanted]
        if needy and self.public_origin is None:
            raise ValueError(f"{needy[0]} needs public_origin, as https://voice.example.org")
        return self

    @property
    def public_host(self) -> str | None:
        """The name by which the providers call: one of those that the server answers to."""
        return urlsplit(self.public_origin).hostname if self.public_origin is not None else None
