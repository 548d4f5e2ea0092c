"""A caller on libwebrtc, Chrome's own stack, as PyPI's `wrtc` has it: a process of its own.

    python -m tests.peers.wrtc_caller URL MICROPHONE RECORDING

Both files are WAVs. It says what is in the one, hears the answer out, and writes the other.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import numpy as np
import webrtc

from media.audio import Audio
from media.audio_file import read_audio, write_wav

RATE_HZ = 48_000
PIECE_SAMPLES = 480


async def call(url: str, microphone: Path, recording: Path) -> None:
    heard_out = asyncio.Event()
    heard: list[np.ndarray] = []
    peer = webrtc.RTCPeerConnection()
    voice = webrtc.MediaStreamTrackGenerator("audio")
    peer.add_track(voice)
    channel = peer.create_data_channel("oai-events")
    opened = asyncio.Event()
    channel.on("open", lambda _: opened.set())

    def note(message: webrtc.MessageEvent) -> None:
        if json.loads(message.data)["type"] == "output_audio_buffer.stopped":
            heard_out.set()

    channel.on("message", note)
    await peer.set_local_description(await peer.create_offer())
    offer, sdp = peer.local_description.sdp, {"Content-Type": "application/sdp"}
    async with (
        aiohttp.ClientSession(url) as http,
        http.post("/v1/realtime/calls", data=offer, headers=sdp) as response,
    ):
        response.raise_for_status()
        answer = await response.text()
    await peer.set_remote_description(webrtc.RTCSessionDescriptionInit(type="answer", sdp=answer))
    await opened.wait()
    async with asyncio.TaskGroup() as tasks:
        speaking = tasks.create_task(_speak(voice, read_audio(microphone, RATE_HZ)))
        hearing = tasks.create_task(_hear(peer.get_receivers()[0].track, heard))
        await heard_out.wait()
        speaking.cancel()
        hearing.cancel()
    peer.close()
    write_wav(recording, Audio(np.concatenate(heard), RATE_HZ))


async def _speak(voice: webrtc.MediaStreamTrackGenerator, audio: Audio) -> None:
    """What it says, in real time, and then silence."""
    samples = audio.as_int16()
    writer = voice.writable.get_writer()
    clock = asyncio.get_running_loop().time
    began_s, position = clock(), 0
    while True:
        piece = np.zeros(PIECE_SAMPLES, np.int16)
        said = samples[position : position + PIECE_SAMPLES]
        piece[: len(said)] = said
        data = webrtc.AudioDataInit(
            format="s16",
            sample_rate=RATE_HZ,
            number_of_frames=PIECE_SAMPLES,
            number_of_channels=1,
            timestamp=position * 1_000_000 // RATE_HZ,
            data=piece.tobytes(),
        )
        await writer.write(webrtc.AudioData(data))
        position += PIECE_SAMPLES
        await asyncio.sleep(max(0.0, began_s + position / RATE_HZ - clock()))


async def _hear(track: webrtc.MediaStreamTrack, heard: list[np.ndarray]) -> None:
    processor = webrtc.MediaStreamTrackProcessor(
        webrtc.MediaStreamTrackProcessorInit(track, max_buffer_size=1000)
    )
    async for data in processor.readable:
        assert data.sample_rate == RATE_HZ
        options = webrtc.AudioDataCopyToOptions(plane_index=0, format="s16")
        samples = bytearray(data.allocation_size(options))
        data.copy_to(samples, options)
        pieces = np.frombuffer(bytes(samples), np.int16).reshape(-1, data.number_of_channels)
        heard.append(pieces[:, 0].copy())
        data.close()


if __name__ == "__main__":
    _, url, microphone, recording = sys.argv
    asyncio.run(call(url, Path(microphone), Path(recording)))
