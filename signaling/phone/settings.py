"""The section `telephone`: how calls from and to telephones are led, whatever carries them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from media.answering_machine import AnsweringSettings
from media.digits import DigitSettings
from media.section import Section
from signaling.phone.destinations import DestinationPattern, DestinationText

PhoneToolName = Literal["hang_up", "transfer_call", "send_digits"]


class TransferTarget(Section):
    """Somebody to whom the LLM may hand a caller on.

    Attributes:
        name: by which the LLM asks for them.
        to: a number, or a SIP URI.
        description: when they are the right one.
    """

    name: str = Field(pattern=r"^[\w -]{1,40}$")
    to: DestinationText
    description: str = Field(default="", max_length=200)


class TelephoneSettings(Section):
    """Section `telephone`.

    Attributes:
        greeting: said when such a call begins; None: `speech_to_speech.greeting`.
        instructions: for the LLM, after `speech_to_speech.instructions`.
        greeting_wait_s: the call begins with the far side's first sound packet, or after so long.
        greeting_delay_s: how long after that: what is said while telephones connect is lost.
        raise_quiet_db: a quiet voice is raised by so much at most before it is listened to; 0 for not at all.
        digits: keys that are pressed.
        tools: what the LLM may do on the telephone, where the call's carrier can.
        transfer_targets: to whom it may hand callers on.
        allowed_destinations: whom this server may call when it is asked to: see `destinations.is_allowed`.
        denied_destinations: whom of these it may not.
        allowed_callers: as whom it may call, besides as configured.
        max_outbound_calls: calls at once that this server has placed.
        max_outbound_per_minute: calls that it places in any minute.
        max_call_s: what goes on for longer is ended.
        ring_timeout_s: who has not answered by then is not called any longer.
        answering_machines: that answer calls which this server placed.
    """

    greeting: str | None = Field(default=None, max_length=1000)
    instructions: str = Field(default="", max_length=20_000)
    greeting_wait_s: float = Field(default=1.0, ge=0, le=10)
    greeting_delay_s: float = Field(default=0.3, ge=0, le=10)
    raise_quiet_db: float = Field(default=20.0, ge=0, le=40)
    digits: DigitSettings = DigitSettings()
    tools: tuple[PhoneToolName, ...] = ("hang_up", "transfer_call", "send_digits")
    transfer_targets: tuple[TransferTarget, ...] = ()
    allowed_destinations: tuple[DestinationPattern, ...] = ()
    denied_destinations: tuple[DestinationPattern, ...] = ()
    allowed_callers: tuple[DestinationText, ...] = ()
    max_outbound_calls: int = Field(default=2, ge=0, le=1000)
    max_outbound_per_minute: int = Field(default=10, ge=0, le=10_000)
    max_call_s: float = Field(default=14_400.0, ge=1)
    ring_timeout_s: float = Field(default=45.0, ge=1, le=300)
    answering_machines: AnsweringSettings = AnsweringSettings()

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        names = [target.name for target in self.transfer_targets]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two of transfer_targets are called {twice}")
        return self
