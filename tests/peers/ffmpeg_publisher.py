"""FFmpeg's WHIP muxer, which PyAV brings, as a process of its own: it holds Python's lock while it connects.

    python -m tests.peers.ffmpeg_publisher URL RECORDING FOLDER [KEY]

Publishes the recording in real time and takes its leave. The muxer's certificate is made in the folder; the
key is sent as a bearer's.
"""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path

import av
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from media.audio_file import read_audio

RATE_HZ = 48_000
FRAME_SAMPLES = 960


def can_publish() -> bool:
    """PyAV's FFmpeg has the muxer: from PyAV 17 on."""
    return "whip" in av.formats_available


def publish(url: str, recording: Path, folder: Path, key: str | None = None) -> None:
    samples = read_audio(recording, RATE_HZ).as_int16()
    options = {"authorization": key} if key else {}
    with av.open(url, "w", format="whip", options=options | _certificate(folder)) as output:
        # The muxer takes nothing but stereo.
        stream = output.add_stream("libopus", rate=RATE_HZ, layout="stereo")
        began_s = time.monotonic()
        for start in range(0, len(samples) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
            piece = samples[start : start + FRAME_SAMPLES]
            frame = av.AudioFrame.from_ndarray(np.repeat(piece, 2)[None, :], format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE_HZ, start
            output.mux(stream.encode(frame))
            time.sleep(max(0.0, began_s + start / RATE_HZ - time.monotonic()))


def _certificate(folder: Path) -> dict[str, str]:
    """P-256: the muxer's own certificates are not taken by every DTLS."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "publisher.crt", folder / "publisher.key"
    pem = serialization.Encoding.PEM
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
    return {"cert_file": str(cert_file), "key_file": str(key_file)}


if __name__ == "__main__":
    url, recording, folder, *key = sys.argv[1:]
    publish(url, Path(recording), Path(folder), *key)
