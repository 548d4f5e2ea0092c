"""`voxtral-kokoro call`: a real call that says a file, and prints what came back and how fast."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from media.audio_file import read_audio, write_wav
from signaling.caller import Caller, CallerOptions
from signaling.hearing import CallFailed, ReceivedEvent

_TRANSCRIPT = "conversation.item.input_audio_transcription.completed"
_REPLY = "response.output_audio_transcript.done"
_REPLIED = "response.done"
_SPOKEN_OUT = "output_audio_buffer.stopped"
_LATENCY = "vk.turn.latency"


async def call(
    url: str, *, say: Path, record: Path | None, timeout_s: float, insecure: bool, key: str | None = None
) -> int:
    """Calls, says a file, waits for the spoken answer, prints and records it.

    Args:
        url: of the server's page.
        say: what the caller says: WAV, or anything FFmpeg reads.
        record: WAV to write what the caller heard to.
        timeout_s: for the answer, from the end of what is said.
        insecure: accept a certificate that nobody vouches for.
        key: one of the server's, where it asks for one.

    Returns:
        0 when an answer was heard, 1 when it had no sound.

    Raises:
        CallerError: the file cannot be read or written.
        CallRefused, CallFailed: the server did not take the call, did not answer, or failed to.
    """
    speech = read_audio(say)
    options = CallerOptions(verify_tls=not insecure, key=key)
    async with Caller(url, options) as caller:
        assert caller.setup is not None
        print(f"connected    after {caller.setup.connected_s * 1000:.0f} ms, call {caller.call_id}")
        spoken_at_s = await caller.say(speech)
        try:
            async with asyncio.timeout(timeout_s):
                await _answered(caller, spoken_at_s)
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
    if first is None:
        print("The reply had no sound.", file=sys.stderr)
        return 1
    return 0


async def _answered(caller: Caller, spoken_at_s: float) -> None:
    """Returns when the response to the last thing that was said is made and spoken out."""
    made = False
    while True:
        received = await caller.next_event(_REPLIED, _SPOKEN_OUT, "error")
        if received.at_s < spoken_at_s:
            continue  # of a turn that ended at a pause within the file
        if received.type == "error":
            raise CallFailed(str(received.event["error"]["message"]))
        if received.type == _REPLIED:
            made = True
            if not _will_be_heard(received):
                return
        elif made:
            return


def _will_be_heard(replied: ReceivedEvent) -> bool:
    response = replied.event["response"]
    return response["status"] in ("completed", "incomplete") and bool(response["output"])


def _print_event(received: ReceivedEvent) -> None:
    event = received.event
    if received.type == _TRANSCRIPT:
        print(f"understood   {event['transcript']}")
    elif received.type == _REPLY:
        print(f"answer       {event['transcript']}")
    elif received.type == _LATENCY:
        stages = ", ".join(f"{stage['name']} {stage['duration_ms']:.0f}" for stage in event["stages"])
        print(f"latency      {event['total_ms']:.0f} ms on the server ({stages})")
