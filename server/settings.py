"""The process's own sections of `config.yaml`: where it listens, how it is watched, where its models are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from media.section import Section
from server.machine_names import own_hosts
from signaling.settings import AccessSettings

Port = Annotated[int, Field(ge=0, le=65_535)]
"""0 lets the system choose one."""

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""`~` is the home directory; a relative path is relative to where the server is started."""


class ServerSettings(AccessSettings):
    """Section `server`: where it listens, for how many, and how it stops. Who may reach it: `AccessSettings`.

    Attributes:
        host: address for the page and the calls; 0.0.0.0 for all networks.
        port: of the page and the calls.
        health_host: address for probes and metrics.
        health_port: of probes and metrics.
        max_calls: calls at once; further ones are refused with 503.
        drain_timeout_s: how long running calls may go on after SIGTERM.
        tls_certificate: PEM chain; with it the page is served over HTTPS.
        tls_key: PEM key of the certificate.
        tls_self_signed: HTTPS with a certificate that the server makes for itself.
        state_directory: where that certificate is kept.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    health_host: str = "127.0.0.1"
    health_port: Port = 8005
    max_calls: int = Field(default=2, ge=1, le=1000)
    drain_timeout_s: float = Field(default=30.0, ge=0, le=3600)
    tls_certificate: UserPath | None = None
    tls_key: UserPath | None = None
    tls_self_signed: bool = False
    state_directory: UserPath = Path("~/.local/state/voxtral-kokoro")

    @property
    def open_to_all(self) -> bool:
        """Whether others than this machine's own users may call without a key."""
        return not self.api_keys and bool(own_hosts(self.host))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are given together or not at all")
        if self.tls_certificate is not None and self.tls_self_signed:
            raise ValueError("either tls_certificate or tls_self_signed, not both")
        if self.port and self.port == self.health_port:
            raise ValueError(f"port and health_port are both {self.port}; they must differ")
        return self


class SpectrogramSettings(Section):
    """Section `spectrogram`: the page's picture of both voices (a Web Audio AnalyserNode draws it).

    Attributes:
        fft_size: samples of one transform: a power of two.
        smoothing: of each band over time, 0 for none.
        floor_db: what is drawn darkest.
        ceiling_db: what is drawn brightest.
        frequency_max_hz: the top of the picture.
    """

    fft_size: int = Field(default=1024, ge=32, le=32_768)
    smoothing: float = Field(default=0.6, ge=0, lt=1)
    floor_db: float = Field(default=-90.0, ge=-200, le=0)
    ceiling_db: float = Field(default=-20.0, ge=-200, le=0)
    frequency_max_hz: float = Field(default=8000.0, ge=500, le=24_000)

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.fft_size & (self.fft_size - 1):
            raise ValueError(f"fft_size is a power of two (512, 1024, 2048 …), not {self.fft_size}")
        if self.floor_db >= self.ceiling_db:
            raise ValueError("floor_db lies below ceiling_db")
        return self


class PerformanceSettings(Section):
    """Section `performance`: how the machine is shared and watched.

    Attributes:
        engine_process: the engines (but voice activity) run in a process of their own, where they cannot
            delay the callers' audio; false puts them into the server's.
        engine_niceness: by how much that process gives way to others: 0 (not at all) to 19.
        engine_wait_s: how long a caller is left in silence at most while engines whose process died are
            started again, or a fallback is loaded since it is needed. If they will not be back by then, as
            their last load has it, the caller hears the apology at once.
        engine_silence_s: an engine in this server that was waited for so long, in all, and has brought
            nothing to anybody is stuck. (The turn-end engine: after 10 s, if that is less.)
        threads: of each engine whose own section does not say; 0 for as many as there are cores, up to 4.
        torch_threads: of all engines on torch together, on the CPU; 0 for `threads`, or what
            `OMP_NUM_THREADS` says, or one a core.
        thread_switch_interval_ms: how long an engine's thread may hold Python's lock while the media path
            waits for it.
        sampling_interval_s: how often CPU, memory and GPU are looked at; polls are given the last look.
        gpu_memory_share: of each GPU, what the engines here may take of it: 0.5 leaves half of it to others.
        latency_window_turns: percentiles are those of this many last turns.
    """

    engine_process: bool = True
    engine_niceness: int = Field(default=5, ge=0, le=19)
    engine_wait_s: float = Field(default=20.0, ge=0, le=600)
    engine_silence_s: float = Field(default=60.0, gt=0, le=3600)
    threads: int = Field(default=0, ge=0, le=64)
    torch_threads: int = Field(default=0, ge=0, le=256)
    thread_switch_interval_ms: float = Field(default=1.0, ge=0.05, le=100)
    sampling_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    gpu_memory_share: float = Field(default=1.0, gt=0, le=1)
    latency_window_turns: int = Field(default=1000, ge=10, le=100_000)


class ModelsSettings(Section):
    """Section `models`.

    Attributes:
        directory: where `voxtral-kokoro models fetch` puts the models and engines find them; None takes the
            environment's `VOXTRAL_KOKORO_MODELS_DIR`, or `voxtral-kokoro/models` in the user's cache.
    """

    directory: UserPath | None = None
