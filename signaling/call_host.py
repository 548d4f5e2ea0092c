"""What signalling needs from the server that hosts it: slots for calls, their conversations, the settings.

`server/calls.py` implements these; signalling never imports the server.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from media.audio import Audio
from media.events import CallEvent
from media.items import Item, Message, ResponseOptions
from media.overhearing import Overhearing
from media.session import SessionConfig
from media.tools import Toolbox
from signaling.settings import SignalingSettings


class VoiceOut(Protocol):
    """The voice that goes out to the caller: `media.playout.Playout`."""

    pausable: bool
    """Whether the caller falls silent with it."""
    ahead_s: float
    """So much before they are due may frames be handed out; responses then end when their end is heard."""
    phase_s: float
    """How long after the beat that all calls share its frames leave."""
    heard_lag_s: float
    """How long after it is due a frame is heard: for the leg to set, where it can measure that."""
    silenced: Callable[[], None] | None
    """Is told when what was handed out and is not heard yet is not to be heard: legs may see to that."""

    @property
    def spoke(self) -> bool:
        """Whether the last frame held any of a response's sound, however quiet."""

    @property
    def pending(self) -> bool:
        """Whether there is sound that waits to be handed out."""

    @property
    def heard_from_s(self) -> float:
        """When the last frame is heard, in loop time, if it takes no time on its way."""

    async def next_frame(self) -> tuple[Audio, int]:
        """The next 20 ms, 48 kHz mono int16, and its position in samples since the call began. Paced."""

    async def until_sound(self, limit_s: float) -> None:
        """Returns once there is sound to hand out, or after so long; the next frame is due at once then."""


class CallConversation(Protocol):
    """The part of `media.conversation.Conversation` that a call is made of; documented there."""

    @property
    def playout(self) -> VoiceOut: ...

    @property
    def session(self) -> SessionConfig: ...

    @property
    def items(self) -> tuple[Item, ...]: ...

    @property
    def voices(self) -> tuple[str, ...]: ...

    async def run(self) -> None: ...

    def close(self) -> None: ...

    def hear(self, audio: Audio) -> None: ...

    @property
    def lacking_samples(self) -> int: ...

    async def heard_all(self) -> None: ...

    def press(self, digit: str) -> None: ...

    async def until_said(self) -> None: ...

    async def until_quiet(self, for_s: float) -> None: ...

    def forgo(self) -> None: ...

    overhearing: Overhearing | None

    def update(self, session: SessionConfig) -> None: ...

    def add_item(self, item: Item, previous_item_id: str | None = None) -> None: ...

    def add_recording(
        self, item: Message, recordings: Mapping[int, Audio], previous_item_id: str | None = None
    ) -> None: ...

    def delete_item(self, item_id: str) -> None: ...

    def item(self, item_id: str) -> Item: ...

    def truncate_item(self, item_id: str, audio_end_ms: int) -> None: ...

    def create_response(self, options: ResponseOptions = ...) -> None: ...

    def cancel_response(self, response_id: str | None = None) -> None: ...

    def clear_output(self) -> None: ...

    def commit_input(self) -> None: ...

    def clear_input(self) -> None: ...

    def reset(self) -> None: ...


class CallSlot(Protocol):
    """One admitted call. Either `start` or `release` gives the slot back in the end."""

    @property
    def call_id(self) -> str:
        """`rtc_…`"""

    def conversation(
        self,
        session: SessionConfig,
        notify: Callable[[CallEvent], None],
        telephone: Toolbox | None = None,
    ) -> CallConversation:
        """The call's conversation with the server's present engines and settings. Starts nothing.

        Args:
            session: the call's first settings.
            notify: told of everything that happens, synchronously, on the loop.
            telephone: the tools of this call alone, if a telephone is at its other end: then nobody is to be
                relied on to cancel echoes.
        """

    def start(self, main: Coroutine[Any, Any, None], hang_up: Callable[[], None]) -> None:
        """Runs the call in the server's task group. The slot is released when `main` ends, however it ends.

        A `main` that raises ends that call only, and is logged.

        Args:
            main: the whole call.
            hang_up: makes `main` end soon and cleanly; called when the time for draining is up.
        """

    def release(self) -> None:
        """Gives the slot back before `start`: the handshake failed. May be called twice."""


class CallHost(Protocol):
    """The server, as signalling sees it."""

    @property
    def settings(self) -> SignalingSettings: ...

    def admit(self) -> CallSlot:
        """Takes a slot, atomically.

        Raises:
            ServerFull: all are taken, or the server is draining.
        """

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of the voices that a session can have."""

    def session_defaults(self) -> SessionConfig:
        """What a call begins with: the configuration and the runtime changes to it."""

    def page_config(self) -> dict[str, Any]:
        """What a page may know, JSON-able: voices, languages, defaults, spectrogram."""

    def change_settings(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Changes settings for calls that begin afterwards; nothing is written to the file.

        Returns:
            all that differs from the file now, JSON-able.

        Raises:
            ConfigError: an unknown key, or a value that cannot be; `param` names it.
        """
