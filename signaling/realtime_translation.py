"""A conversation's events in the Realtime API's words, in the order that the API documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from media import events as call
from media.items import FunctionCall, Item, Message, Modality
from media.latency import TurnLatency
from signaling import realtime_events as wire
from signaling.realtime_audio import VoiceData
from signaling.realtime_mapping import item_to_wire, response_to_wire, spoken_or_written
from signaling.realtime_responses import ResponsePart
from signaling.realtime_session_mapping import WireState
from signaling.wire_stages import stages_to_wire

TURN_LATENCY = "vk.turn.latency"
HEARD_TEXT = "vk.heard_text"
SERVER_TOOLS = "vk.server_tools"
ANSWERED_BY = "vk.call.answered_by"
INCLUDABLE = (TURN_LATENCY, HEARD_TEXT, SERVER_TOOLS, ANSWERED_BY)
"""What a session can ask for with `include`: the latency of each turn as an event of that name, the words
that were heard on `conversation.item.truncated`, who or what answered a call that was placed, and the items
of tools that the server runs: a client that does not expect them would try to run the tools itself. Other
words are remembered and mean nothing here."""


@dataclass(slots=True)
class _Output:
    """A response that is being made: its items in order, and which of them has its part or its arguments
    open."""

    modality: Modality
    item_ids: list[str] = field(default_factory=list)
    open_parts: dict[str, Modality] = field(default_factory=dict)
    open_calls: set[str] = field(default_factory=set)

    def index(self, item_id: str) -> int:
        return self.item_ids.index(item_id)


class Translator:
    """Remembers of each response what the API's events must repeat: indices, and parts that are open.

    Args:
        as_data: events carry the assistant's voice. The client then plays it itself, and is told nothing of
            the playout that stands for it here.
        overheard: events carry the assistant's voice, too, for clients that are not who hears the call.
    """

    def __init__(self, *, as_data: bool = False, overheard: bool = False) -> None:
        self._plays = as_data
        self._voice_data = VoiceData() if as_data or overheard else None
        self._outputs: dict[str, _Output] = {}
        self._item_outputs: dict[str, str] = {}
        self._hidden: dict[str, str | None] = {}
        """Items that the client knows nothing of; and which came before each."""

    def translate(self, event: call.CallEvent, state: WireState) -> Iterator[wire.ServerEvent]:
        """The client's events for one of the conversation's: none, one, or several.

        Args:
            event: what happened.
            state: the session's, for ids and what it includes.
        """
        match event:
            case call.SpeechStarted():
                yield wire.SpeechStartedEvent(item_id=event.item_id, audio_start_ms=event.audio_start_ms)
            case call.SpeechStopped():
                yield wire.SpeechStoppedEvent(item_id=event.item_id, audio_end_ms=event.audio_end_ms)
            case call.IdleTimedOut():
                yield wire.TimeoutTriggeredEvent(
                    item_id=event.item_id,
                    audio_start_ms=event.audio_start_ms,
                    audio_end_ms=event.audio_end_ms,
                )
            case call.InputCommitted():
                yield wire.InputCommittedEvent(
                    item_id=event.item_id, previous_item_id=self._shown(event.previous_item_id)
                )
            case call.InputCleared():
                yield wire.InputClearedEvent()
            case call.ItemAdded() | call.OutputItemAdded() if _is_hidden(event.item, state):
                if isinstance(event, call.ItemAdded):
                    self._hidden[event.item.id] = event.previous_item_id
                else:
                    self._hidden.setdefault(event.item.id, None)
            case call.ItemDone() | call.OutputItemDone() if event.item.id in self._hidden:
                pass
            case call.FunctionArgumentsDelta() if event.item_id in self._hidden:
                pass
            case call.ItemAdded():
                yield wire.ItemAddedEvent(
                    previous_item_id=self._shown(event.previous_item_id), item=item_to_wire(event.item)
                )
            case call.ItemDone():
                yield from self._close(event.item)
                yield wire.ItemDoneEvent(
                    previous_item_id=self._shown(event.previous_item_id), item=item_to_wire(event.item)
                )
            case call.ItemDeleted():
                if event.item_id not in self._hidden:
                    yield wire.ItemDeletedEvent(item_id=event.item_id)
                self._hidden.pop(event.item_id, None)
            case call.ItemTruncated():
                yield wire.ItemTruncatedEvent(
                    item_id=event.item_id,
                    audio_end_ms=event.audio_end_ms,
                    transcript=event.heard_text if HEARD_TEXT in state.include else None,
                )
            case call.ConversationReset():
                yield wire.ConversationResetEvent()
            case call.TranscriptDelta():
                yield wire.TranscriptDeltaEvent(item_id=event.item_id, delta=event.delta)
            case call.TranscriptCompleted():
                yield wire.TranscriptCompletedEvent(
                    item_id=event.item_id,
                    content_index=event.content_index,
                    transcript=event.transcript,
                    usage=wire.DurationUsage(seconds=round(event.audio_s, 3)),
                )
            case call.TranscriptFailed():
                yield wire.TranscriptFailedEvent(
                    item_id=event.item_id,
                    content_index=event.content_index,
                    error=wire.TranscriptError(code=event.code, message=event.message),
                )
            case call.OutputBufferStarted() | call.OutputBufferStopped() | call.OutputBufferCleared() if (
                self._plays
            ):
                pass
            case call.OutputBufferStarted():
                yield wire.OutputBufferStartedEvent(response_id=event.response_id)
            case call.OutputBufferStopped():
                yield wire.OutputBufferStoppedEvent(response_id=event.response_id)
            case call.OutputBufferCleared():
                yield wire.OutputBufferClearedEvent(response_id=event.response_id)
            case call.OutputBufferHeld() | call.OutputBufferResumed() | call.DraftSettled():
                # The API has no words for it.
                pass
            case call.DigitPressed():
                yield wire.DtmfEventReceived(event=event.digit, received_at=round(event.pressed_s))
            case call.AnsweredBy():
                if ANSWERED_BY in state.include:
                    yield wire.AnsweredByEvent(answered_by=event.who)
            case call.TurnMeasured():
                if TURN_LATENCY in state.include:
                    yield _latency_event(event.latency)
            case call.CallFault():
                detail = wire.ErrorDetail(type="server_error", code=event.code, message=event.message)
                yield wire.ErrorEvent(error=detail)
            case (
                call.ResponseCreated()
                | call.ResponseDone()
                | call.OutputItemAdded()
                | call.OutputItemDone()
                | call.OutputPartAdded()
                | call.OutputTextDelta()
                | call.OutputAudioDelta()
                | call.FunctionArgumentsDelta()
            ):
                yield from self._translate_output(event, state)
            case _:
                assert_never(event)

    def _translate_output(
        self,
        event: call.ResponseCreated
        | call.ResponseDone
        | call.OutputItemAdded
        | call.OutputItemDone
        | call.OutputPartAdded
        | call.OutputTextDelta
        | call.OutputAudioDelta
        | call.FunctionArgumentsDelta,
        state: WireState,
    ) -> Iterator[wire.ServerEvent]:
        match event:
            case call.ResponseCreated():
                self._outputs[event.response.id] = _Output(event.response.modality)
                yield wire.ResponseCreatedEvent(response=response_to_wire(event.response, state))
            case call.ResponseDone():
                output = self._outputs.pop(event.response.id, None)
                for item_id in output.item_ids if output else ():
                    self._item_outputs.pop(item_id, None)
                shown = tuple(item for item in event.response.output if item.id not in self._hidden)
                response = replace(event.response, output=shown)
                yield wire.ResponseDoneEvent(response=response_to_wire(response, state))
            case call.OutputItemAdded():
                output = self._outputs[event.response_id]
                output.item_ids.append(event.item.id)
                self._item_outputs[event.item.id] = event.response_id
                if isinstance(event.item, FunctionCall):
                    output.open_calls.add(event.item.id)
                yield wire.OutputItemAddedEvent(
                    response_id=event.response_id,
                    output_index=output.index(event.item.id),
                    item=item_to_wire(event.item),
                )
            case call.OutputItemDone():
                yield from self._close(event.item)
                yield wire.OutputItemDoneEvent(
                    response_id=event.response_id,
                    output_index=self._outputs[event.response_id].index(event.item.id),
                    item=item_to_wire(event.item),
                )
            case call.OutputPartAdded():
                output = self._outputs[event.response_id]
                modality = spoken_or_written(event.item, output.modality)
                output.open_parts[event.item.id] = modality
                yield wire.ContentPartAdded(
                    response_id=event.response_id,
                    item_id=event.item.id,
                    output_index=output.index(event.item.id),
                    part=_part(modality, ""),
                )
            case call.OutputTextDelta():
                output = self._outputs[event.response_id]
                spoken = output.open_parts.get(event.item_id, output.modality) == "audio"
                delta_event = wire.AudioTranscriptDelta if spoken else wire.OutputTextDeltaEvent
                yield delta_event(
                    response_id=event.response_id,
                    item_id=event.item_id,
                    output_index=output.index(event.item_id),
                    delta=event.delta,
                )
            case call.OutputAudioDelta():
                if self._voice_data is not None:
                    deltas = self._voice_data.deltas(event.item_id, event.audio, state.output_format)
                    yield from self._audio(event.response_id, event.item_id, deltas)
            case call.FunctionArgumentsDelta():
                yield wire.FunctionCallArgumentsDelta(
                    response_id=event.response_id,
                    item_id=event.item_id,
                    output_index=self._outputs[event.response_id].index(event.item_id),
                    call_id=event.call_id,
                    delta=event.delta,
                )
            case _:
                assert_never(event)

    def _shown(self, item_id: str | None) -> str | None:
        """The item, or the one before it that the client knows."""
        while item_id is not None and item_id in self._hidden:
            item_id = self._hidden[item_id]
        return item_id

    def _close(self, item: Item) -> Iterator[wire.ServerEvent]:
        """The events that end an item's part, or a call's arguments. Before the item's own end, whichever of
        its two comes first."""
        response_id = self._item_outputs.get(item.id)
        if response_id is None:
            return
        output = self._outputs[response_id]
        match item:
            case Message():
                yield from self._close_part(response_id, output, item)
            case FunctionCall() if item.id in output.open_calls:
                output.open_calls.remove(item.id)
                yield wire.FunctionCallArgumentsDone(
                    response_id=response_id,
                    item_id=item.id,
                    output_index=output.index(item.id),
                    call_id=item.call_id,
                    name=item.name,
                    arguments=item.arguments,
                )

    def _close_part(self, response_id: str, output: _Output, item: Message) -> Iterator[wire.ServerEvent]:
        modality = output.open_parts.pop(item.id, None)
        if modality is None:
            return
        index = output.index(item.id)
        if modality == "audio":
            if self._voice_data is not None:
                yield from self._audio(response_id, item.id, self._voice_data.last_deltas(item.id))
            yield wire.OutputAudioDone(response_id=response_id, item_id=item.id, output_index=index)
            yield wire.AudioTranscriptDone(
                response_id=response_id, item_id=item.id, output_index=index, transcript=item.text
            )
        else:
            yield wire.OutputTextDone(
                response_id=response_id, item_id=item.id, output_index=index, text=item.text
            )
        yield wire.ContentPartDone(
            response_id=response_id, item_id=item.id, output_index=index, part=_part(modality, item.text)
        )

    def _audio(
        self, response_id: str, item_id: str, deltas: Iterator[str]
    ) -> Iterator[wire.OutputAudioDeltaEvent]:
        index = self._outputs[response_id].index(item_id)
        for delta in deltas:
            yield wire.OutputAudioDeltaEvent(
                response_id=response_id, item_id=item_id, output_index=index, delta=delta
            )


def _is_hidden(item: Item, state: WireState) -> bool:
    """Whether it is of a tool that the server runs, for a client that did not ask for these."""
    return not isinstance(item, Message) and item.by_server and SERVER_TOOLS not in state.include


def _part(modality: Modality, text: str) -> ResponsePart:
    if modality == "audio":
        return ResponsePart(type="audio", transcript=text)
    return ResponsePart(type="text", text=text)


def _latency_event(latency: TurnLatency) -> wire.TurnLatencyEvent:
    return wire.TurnLatencyEvent(
        item_id=latency.item_id,
        response_id=latency.response_id,
        total_ms=round(latency.total_ms, 1),
        stages=stages_to_wire(latency),
    )
