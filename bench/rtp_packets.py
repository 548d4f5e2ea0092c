"""What one packet of a telephone costs, in and out, by codec.

    python bench/rtp_packets.py

Between the socket and the conversation: out, a frame of 48 kHz is resampled, encoded, encrypted and given its
header; in, a packet is decrypted, read, put in order, decoded and brought to 16 kHz. CPU time of the best of
several rounds, caches warm; the system's part in sending and receiving is not in it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from media.audio import Audio  # noqa: E402
from media.codecs import CodecName  # noqa: E402
from media.opus import OpusSettings  # noqa: E402
from signaling.rtp.latch import Latch  # noqa: E402
from signaling.rtp.negotiation import Agreement, Place, Wishes, answered, description, offered_section  # noqa: E402
from signaling.rtp.receiver import Receiver  # noqa: E402
from signaling.rtp.sdp import Crypto  # noqa: E402
from signaling.rtp.sender import Sender  # noqa: E402
from signaling.rtp.srtp import SrtpStreams, new_keys  # noqa: E402

PACKETS = 500
ROUNDS = 7
FRAME_SAMPLES = 960
THERE = ("127.0.0.1", 4000)
CODECS: tuple[CodecName, ...] = ("pcmu", "pcma", "g722", "opus")


class _Ear:
    lacking_samples = 0

    def hear(self, audio: Audio) -> None:
        """Somebody else's cost."""

    def digit(self, digit: str) -> None:
        """Nobody presses any."""


def main() -> None:
    asyncio.run(_tell())


async def _tell() -> None:
    voice = [Audio(samples, 48_000) for samples in _voice().reshape(-1, FRAME_SAMPLES)]
    silence = [Audio(np.zeros(FRAME_SAMPLES, dtype=np.int16), 48_000)] * PACKETS
    print("µs a packet         out  silent      in")
    for codec in CODECS:
        for encrypted in (False, True):
            costs = [_costs_us(codec, encrypted, voice, silence) for _ in range(ROUNDS)]
            out, quiet, heard = (min(column) for column in zip(*costs, strict=True))
            name = f"{codec}, SRTP" if encrypted else codec
            print(f"{name:<15} {out:>7.1f} {quiet:>7.1f} {heard:>7.1f}")


def _costs_us(
    codec: CodecName, encrypted: bool, voice: list[Audio], silence: list[Audio]
) -> tuple[float, float, float]:
    agreement = _agreement(codec)
    crypto = Crypto(1, "AES_CM_128_HMAC_SHA1_80", bytes(range(30)))
    ours, theirs = (SrtpStreams(crypto, crypto) if encrypted else None for _ in range(2))
    packets: list[bytes] = []
    send: Callable[[bytes], None] = packets.append
    if ours is not None:
        protect = ours.protect
        send = lambda packet: packets.append(protect(packet))  # noqa: E731
    sender = Sender(agreement, OpusSettings(), send)
    receiver = Receiver(_Ear(), agreement, Latch(THERE, follows=True), theirs)
    at = time.process_time()
    for index, frame in enumerate(voice):
        sender.push(frame, index * FRAME_SAMPLES)
    spoken = time.process_time()
    for index, frame in enumerate(silence, len(voice)):
        sender.push(frame, index * FRAME_SAMPLES)
    silent = time.process_time()
    for packet in packets[: len(voice)]:
        receiver.take(packet, THERE)
    heard = time.process_time()
    receiver.close()
    return (
        1e6 * (spoken - at) / len(voice),
        1e6 * (silent - spoken) / len(silence),
        1e6 * (heard - silent) / len(voice),
    )


def _agreement(codec: CodecName) -> Agreement:
    wishes, keys = Wishes((codec,), "off", comfort_noise=False), new_keys()
    offer = description(offered_section(wishes, keys, "sendrecv"), 0, (), Place(*THERE, *THERE), 1, 1)
    return answered(offer, wishes, keys, held=False).agreement


def _voice() -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    t = np.arange(PACKETS * FRAME_SAMPLES) / 48_000
    noise = np.random.default_rng(0).normal(0, 300, len(t))
    sound = 6000 * np.sin(2 * np.pi * 200 * t) * np.sin(2 * np.pi * 3 * t) + noise
    return np.asarray(sound, dtype=np.int16)


if __name__ == "__main__":
    main()
