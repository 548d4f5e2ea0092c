"""`voxtral-kokoro call`: a real call that says a file, and prints what came back and how fast."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from media.audio_file import read_audio, write_wav
from signaling.caller import Caller, CallerOptions, CallFailed, ReceivedEvent

_TRANSCRIPT = "conversation.item.input_audio_transcription.completed"
_REPLY = "response.output_audio_transcript.done"
_LATENCY = "vk.turn.latency"
_SAID = "output_audio_buffer.stopped"
_ANSWERED = "response.done"


async def call(url: str, *, say: Path, record: Path | None, timeout_s: float, insecure: bool) -> int:
    """Calls, says a file, waits for the spoken answer, prints and records it.

    Args:
        url: of the server's page.
        say: what the caller says: WAV, or anything FFmpeg reads.
        record: WAV to write what the caller heard to.
        timeout_s: for the answer, from the end of what is said.
        insecure: accept a certificate that nobody vouches for.

    Returns:
        0 when an answer was heard, 1 when the reply failed.

    Raises:
        CallerError: the file cannot be read or written.
        CallRefused, CallFailed: the server did not take the call, or did not answer.
    """
    speech = read_audio(say)
    # No greeting: it would be spoken over by what we say.
    options = CallerOptions(session={"greeting": ""}, verify_tls=not insecure)
    async with Caller(url, options) as caller:
        assert caller.setup is not None
        print(f"connected    after {caller.setup.connected_s * 1000:.0f} ms, call {caller.call_id}")
        spoken_at_s = await caller.say(speech)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await _answer(caller, spoken_at_s)
        except TimeoutError:
            raise CallFailed(f"No answer came within {timeout_s:g} s.") from None
        first = caller.first_audible(spoken_at_s)
        for received in caller.events:
            _print_event(received)
        if first is not None:
            print(f"first sound  {(first.at_s - spoken_at_s) * 1000:.0f} ms after the last word")
        if record is not None:
            write_wav(record, caller.recording())
            print(f"recorded     {record}")
        if answer.event["response"]["status"] == "failed":
            print(f"The reply failed: {answer.event['response'].get('status_details')}", file=sys.stderr)
            return 1
        return 0


async def _answer(caller: Caller, spoken_at_s: float) -> ReceivedEvent:
    """The end of the response to the last thing that was said, once it was spoken out."""
    answered: ReceivedEvent | None = None
    while True:
        received = await caller.next_event(_ANSWERED, _SAID, "error")
        if received.at_s < spoken_at_s:
            continue  # a turn that ended at a pause within the file
        if received.type == "error":
            raise CallFailed(str(received.event["error"]["message"]))
        if received.type == _ANSWERED:
            answered = received
            if not _will_be_heard(received):
                return received
        elif answered is not None:
            return answered


def _will_be_heard(answered: ReceivedEvent) -> bool:
    response = answered.event["response"]
    return response["status"] in ("completed", "incomplete") and bool(response["output"])


def _print_event(received: ReceivedEvent) -> None:
    event = received.event
    match received.type:
        case "conversation.item.input_audio_transcription.completed":
            print(f"understood   {event['transcript']}")
        case "response.output_audio_transcript.done":
            print(f"answer       {event['transcript']}")
        case "vk.turn.latency":
            stages = ", ".join(f"{stage['name']} {stage['duration_ms']:.0f}" for stage in event["stages"])
            print(f"latency      {event['total_ms']:.0f} ms on the server ({stages})")
        case _:
            pass
