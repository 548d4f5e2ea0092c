"""A conversation's events as messages of `/ws`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from media import events as call
from media.items import FunctionCall, Item, Message, Modality, Response
from media.latency import TurnLatency
from signaling import ws_messages as wire
from signaling import ws_objects as objects
from signaling.wire_stages import stages_to_wire
from signaling.ws_audio import OutgoingVoice, encode_audio


@dataclass(slots=True)
class _Output:
    """A response that is not over.

    Attributes:
        modality: spoken or written.
        voice: its sound on the way to the client, until all of it was sent.
        item_id: of its item.
        item_open: its item's text is still to be ended.
        sounds: some sound of it was made, whose end is to be waited for.
        cleared: its sound was thrown away.
        made: how it ended, once no more is made.
        text: what was said, as it is remembered.
    """

    modality: Modality
    voice: OutgoingVoice
    item_id: str = ""
    item_open: bool = False
    sounds: bool = False
    cleared: bool = False
    made: Response | None = None
    text: str = ""


class Translator:
    """Remembers what messages must repeat: which response an item is of, and what was said of it so far.

    Args:
        output: how the voice is written.
        latency: whether the client asked for the latency of each turn.
    """

    def __init__(self, output: objects.AudioFormat, *, latency: bool) -> None:
        self._format = output
        self._latency = latency
        self._outputs: dict[str, _Output] = {}
        self._response_of: dict[str, str] = {}
        """By item."""
        self._heard: dict[str, str] = {}
        """What each turn of the caller that has not ended seems to say."""

    def translate(self, event: call.CallEvent) -> Iterator[wire.ServerMessage]:
        """The client's messages for one of the conversation's events: none, one, or several."""
        match event:
            case call.SpeechStarted():
                yield wire.SpeechStarted(item_id=event.item_id, at_ms=event.audio_start_ms)
            case call.SpeechStopped():
                yield wire.SpeechStopped(item_id=event.item_id, at_ms=event.audio_end_ms)
            case call.TranscriptDelta():
                text = self._heard.get(event.item_id, "") + event.delta
                self._heard[event.item_id] = text
                yield wire.Transcription(item_id=event.item_id, text=text, delta=event.delta, final=False)
            case call.TranscriptCompleted():
                self._heard.pop(event.item_id, None)
                yield wire.Transcription(item_id=event.item_id, text=event.transcript, final=True)
            case call.TranscriptFailed():
                self._heard.pop(event.item_id, None)
                failed = objects.Fault(code=event.code, message=event.message)
                yield wire.Transcription(item_id=event.item_id, text="", final=True, failed=failed)
            case call.InputCleared():
                self._heard.clear()
                yield wire.InputCleared()
            case call.ItemAdded():
                if isinstance(event.item, Message):
                    yield wire.ItemOut(
                        item=_item_to_wire(event.item),
                        previous_item_id=event.previous_item_id,
                        response_id=self._response_of.get(event.item.id),
                    )
            case call.ItemDone():
                yield from self._end_item(event.item)
            case call.ItemDeleted():
                yield wire.ItemDeleted(item_id=event.item_id)
            case call.ConversationReset():
                self._heard.clear()
                yield wire.Reset()
            case call.TurnMeasured():
                if self._latency:
                    yield _latency_to_wire(event.latency)
            case call.CallFault():
                yield wire.Error(fault="server", code=event.code, message=event.message)
            case call.DigitPressed():
                yield wire.Digit(digit=event.digit)
            case call.InputCommitted() | call.IdleTimedOut() | call.DraftSettled() | call.AnsweredBy():
                # The item that it became, and the response, are told of by themselves; nobody was called.
                return
            case (
                call.ResponseCreated()
                | call.OutputItemAdded()
                | call.OutputPartAdded()
                | call.OutputTextDelta()
                | call.OutputAudioDelta()
                | call.FunctionArgumentsDelta()
                | call.OutputItemDone()
                | call.ResponseDone()
            ):
                yield from self._making(event)
            case (
                call.OutputBufferStarted()
                | call.OutputBufferStopped()
                | call.OutputBufferCleared()
                | call.OutputBufferHeld()
                | call.OutputBufferResumed()
                | call.ItemTruncated()
            ):
                yield from self._hearing(event)
            case _:
                assert_never(event)

    def _making(
        self,
        event: call.ResponseCreated
        | call.OutputItemAdded
        | call.OutputPartAdded
        | call.OutputTextDelta
        | call.OutputAudioDelta
        | call.FunctionArgumentsDelta
        | call.OutputItemDone
        | call.ResponseDone,
    ) -> Iterator[wire.ServerMessage]:
        match event:
            case call.ResponseCreated():
                modality = event.response.modality
                self._outputs[event.response.id] = _Output(modality, OutgoingVoice(self._format.rate_hz))
                yield wire.ResponseStarted(response_id=event.response.id, modality=modality)
            case call.OutputItemAdded():
                if isinstance(event.item, Message):
                    output = self._outputs[event.response_id]
                    output.item_id, output.item_open = event.item.id, True
                    self._response_of[event.item.id] = event.response_id
            case call.OutputPartAdded() | call.FunctionArgumentsDelta():
                return
            case call.OutputTextDelta():
                yield wire.ResponseText(
                    response_id=event.response_id, item_id=event.item_id, delta=event.delta, final=False
                )
            case call.OutputAudioDelta():
                output = self._outputs[event.response_id]
                output.sounds = output.sounds or len(event.audio) > 0
                for start_ms, piece in output.voice.push(event.audio):
                    yield self._piece(
                        output, event.response_id, start_ms, encode_audio(piece, self._format.encoding)
                    )
            case call.OutputItemDone():
                yield from self._end_item(event.item)
                match event.item:
                    case FunctionCall(by_server=False, status="completed") as called:
                        yield _tool_call(event.response_id, called)
            case call.ResponseDone():
                output = self._outputs[event.response.id]
                output.made = event.response
                if not output.sounds:
                    yield self._end_response(event.response)
            case _:
                assert_never(event)

    def _hearing(
        self,
        event: call.OutputBufferStarted
        | call.OutputBufferStopped
        | call.OutputBufferCleared
        | call.OutputBufferHeld
        | call.OutputBufferResumed
        | call.ItemTruncated,
    ) -> Iterator[wire.ServerMessage]:
        match event:
            case call.OutputBufferStarted():
                yield self._playback(event.response_id, "started", 0)
            case call.OutputBufferHeld():
                yield self._playback(event.response_id, "held")
            case call.OutputBufferResumed():
                yield self._playback(event.response_id, "resumed", event.at_ms)
            case call.OutputBufferStopped():
                made = self._outputs[event.response_id].made
                if made is not None:
                    yield self._end_response(made)
            case call.OutputBufferCleared():
                output = self._outputs[event.response_id]
                output.cleared = True
                yield wire.Interrupted(response_id=event.response_id, item_id=output.item_id)
            case call.ItemTruncated():
                yield wire.Truncated(
                    item_id=event.item_id, heard_ms=event.audio_end_ms, heard_text=event.heard_text
                )
                cut = self._outputs.get(self._response_of.get(event.item_id, ""))
                if cut is not None:
                    cut.text = event.heard_text
                    if cut.cleared and cut.made is not None:
                        yield self._end_response(cut.made)
            case _:
                assert_never(event)

    def _end_item(self, item: Item) -> Iterator[wire.ServerMessage]:
        """Ends an answer's sound and text. Before its own end, whichever of its two comes first."""
        response_id = self._response_of.get(item.id, "")
        output = self._outputs.get(response_id)
        if output is None or not output.item_open or not isinstance(item, Message):
            return
        output.item_open, output.text = False, item.text
        if output.modality == "audio":
            for start_ms, piece in output.voice.finish():
                yield self._piece(output, response_id, start_ms, encode_audio(piece, self._format.encoding))
            yield self._piece(output, response_id, output.voice.position_ms, "", final=True)
        yield wire.ResponseText(response_id=response_id, item_id=item.id, text=item.text, final=True)

    def _end_response(self, response: Response) -> wire.ConversationComplete:
        output = self._outputs.pop(response.id)
        self._response_of.pop(output.item_id, None)
        end = wire.ConversationComplete(
            response_id=response.id, item_id=output.item_id or None, status="completed", text=output.text
        )
        match response.status:
            case "failed":
                failed = objects.Fault(
                    code=response.error_code or "engine_error", message=response.error or ""
                )
                return end.model_copy(update={"status": "failed", "failed": failed})
            case "cancelled":
                return end.model_copy(update={"status": "interrupted"})
            case _ if output.cleared:
                return end.model_copy(update={"status": "interrupted"})
            case "incomplete":
                return end.model_copy(update={"status": "incomplete"})
            case _:
                return end

    def _playback(
        self,
        response_id: str,
        state: Literal["started", "held", "resumed"],
        at_ms: int | None = None,
    ) -> wire.Playback:
        item_id = self._outputs[response_id].item_id
        return wire.Playback(response_id=response_id, item_id=item_id, state=state, at_ms=at_ms)

    def _piece(
        self, output: _Output, response_id: str, start_ms: int, audio: str, *, final: bool = False
    ) -> wire.SpeechResponse:
        return wire.SpeechResponse(
            response_id=response_id,
            item_id=output.item_id,
            audio=audio,
            encoding=self._format.encoding,
            rate_hz=self._format.rate_hz,
            start_ms=start_ms,
            final=final,
        )


def _tool_call(response_id: str, item: FunctionCall) -> wire.ToolCall:
    return wire.ToolCall(
        response_id=response_id,
        item_id=item.id,
        call_id=item.call_id,
        name=item.name,
        arguments=item.arguments,
    )


def _item_to_wire(item: Message) -> objects.WireItem:
    return objects.WireItem(item_id=item.id, role=item.role, status=item.status, text=item.text)


def _latency_to_wire(latency: TurnLatency) -> wire.Latency:
    return wire.Latency(
        item_id=latency.item_id,
        response_id=latency.response_id,
        total_ms=round(latency.total_ms, 1),
        stages=stages_to_wire(latency),
    )
