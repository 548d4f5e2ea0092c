"""A phone on PyPI's `baresip-python`, a baresip five years younger than Debian's: a process of its own.

    python -m tests.peers.baresip_python_phone OPTIONS

It may be there once in a process. OPTIONS is JSON. Commands come on stdin and events go to stdout, a line of
JSON each. `baresip_python` starts one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.audio_file import read_audio, write_wav
from media.resampler import resample
from tests.peers.phone_programs import STEP_LIMIT_S, end, free_media_ports, free_sip_port

ROOT = Path(__file__).resolve().parent.parent.parent
PERIOD_S = 0.02
_AHEAD_PERIODS = 4
"""So much of what it says lies ready in the stack."""
_READ_BYTES = 65_536
_AUDIBLE = 500
"""Of 32768."""
_AUDIBLE_S = 0.1
_CLOSING_LIMIT_S = 10.0
_OFFERS_TRIED = 500
_SPECS = {"PCMU": "pcmu", "PCMA": "pcma", "G722": "g722/16000/1", "opus": "opus/48000/2"}

Note = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BaresipPython:
    """A phone that runs.

    Attributes:
        uri: where it is called.
        notes: its events that were not waited for yet.
    """

    uri: str
    notes: Queue[Note]
    _process: subprocess.Popen[str]
    _recording: Path

    def order(self, name: str, *arguments: str) -> None:
        """Has it do one of the things that `_Phone` does."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps([name, *arguments]) + "\n")
        stdin.flush()

    def until(self, event: str, limit_s: float = STEP_LIMIT_S) -> Any:
        """Waits for an event. Returns what it tells.

        Raises:
            AssertionError: it does not come within the limit, or an order was refused.
        """
        came: list[Note] = []
        while True:
            try:
                note = self.notes.get(timeout=limit_s)
            except Empty:
                raise AssertionError(f"no {event!r}; there came {came}") from None
            if event in note:
                return note[event]
            assert "refused" not in note, note
            came.append(note)

    def call(self, uri: str) -> None:
        """Calls, and waits until it is answered."""
        self.order("dial", uri)
        self.until("established")

    def until_it_hears(self) -> None:
        """Waits until it has heard, from now on, a tenth of a second that somebody would notice."""
        self.order("listen")
        self.until("audible")

    def hang_up(self) -> None:
        """Ends the call and waits for its end."""
        self.order("hang_up")
        self.until("closed")

    def heard(self) -> Audio:
        """What came in its call, which has ended, as 16 kHz."""
        return read_audio(self._recording, SPEECH_RATE_HZ)


@contextmanager
def baresip_python(
    folder: Path, *, codec: str = "PCMU", srtp: bool = False, digits_by: str = "rtpevent"
) -> Iterator[BaresipPython]:
    """Starts a phone. It answers, and goes where it is transferred.

    Args:
        folder: for its recording.
        codec: the only one that it knows.
        srtp: takes no call whose media is not encrypted.
        digits_by: how it sends keys: `rtpevent` or `info`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, recording = free_sip_port(), folder / "heard.wav"
    media = free_media_ports()
    options = {"port": port, "media": (media[0], media[-1]), "codec": codec, "srtp": srtp} | {
        "digits_by": digits_by,
        "to": str(recording),
    }
    command = [sys.executable, "-m", "tests.peers.baresip_python_phone", json.dumps(options)]
    with (
        (folder / "log").open("w") as log,
        ThreadPoolExecutor(1, "events of the phone") as reading,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        notes: Queue[Note] = Queue()
        phone = BaresipPython(f"sip:carol@127.0.0.1:{port}", notes, process, recording)
        reading.submit(_read, process.stdout, notes)
        try:
            phone.until("listens")
            yield phone
        finally:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_CLOSING_LIMIT_S)
            end(process)  # type: ignore[arg-type]


def _read(lines: Iterator[str], notes: Queue[Note]) -> None:
    for line in lines:
        notes.put(json.loads(line))


# In the process


class _Phone:
    """One line of it: what it says, what it hears, what it is told to do."""

    def __init__(self, agent: Any, recording: Path) -> None:
        self._agent = agent
        self._recording = recording
        self._call: Any = None
        self._to_say = np.zeros(0, np.int16)
        self._heard: list[Audio] = []
        self._heard_rate_hz = 0
        self._listening = False
        self._audible_s = 0.0
        self._errands: list[Any] = []
        agent.on_incoming(self._ring)

    def _ring(self, call: Any) -> None:
        self._take(call)
        self._errands.append(call.answer())

    def _take(self, call: Any) -> None:
        self._call = call
        call.on_transfer_request(self._transferred)

    def note(self, event: Any) -> None:
        """Something happened. A call itself misses what happens at once, its establishment even."""
        match event.event.name:
            case "CALL_ESTABLISHED":
                _tell(established="")
            case "CALL_DTMF_START":
                _tell(digit=event.text)
            case "CALL_REMOTE_SDP":
                _tell(agreed="")
            case "CALL_CLOSED":
                self._write()
                _tell(closed="")
            case "CALL_HOLD":
                _tell(held="")
            case "CALL_RESUME":
                _tell(resumed="")

    def _transferred(self, request: Any) -> None:
        _tell(transferred=request.target)
        self._errands.append(self._follow())

    async def _follow(self) -> None:
        self._take(await self._call.accept_transfer())

    async def dial(self, uri: str) -> None:
        self._take(await self._agent.dial(uri))

    async def say(self, path: str) -> None:
        info = self._call.audio.info()
        audio = resample(read_audio(Path(path)), info.tx_sample_rate)
        self._to_say = np.repeat(audio.as_int16(), info.tx_channels)

    async def listen(self) -> None:
        self._listening, self._audible_s = True, 0.0

    async def press(self, digits: str) -> None:
        await self._call.send_dtmf(digits)

    async def hold(self) -> None:
        await _once_it_may(self._call.hold)

    async def resume(self) -> None:
        await _once_it_may(self._call.resume)

    async def hang_up(self) -> None:
        await self._call.hangup()

    async def transfer(self, uri: str) -> None:
        await self._call.transfer(uri)
        _tell(done="")

    async def pass_sound(self) -> None:
        """Both ways, as long as the process is there."""
        import baresip

        while True:
            await asyncio.sleep(PERIOD_S)
            for errand in self._errands:
                await _tried(errand)
            self._errands.clear()
            if self._call is not None:
                # A call that is on hold, or has not begun, has no sound.
                with suppress(baresip.AudioNotActive, baresip.AudioRestarted):
                    self._pass_a_period()

    def _pass_a_period(self) -> None:
        audio = self._call.audio
        info = audio.info()
        if info.rx_ready and (read := audio.read(_READ_BYTES)):
            samples = np.frombuffer(read, np.int16).reshape(-1, info.rx_channels)[:, 0].copy()
            self._heard.append(Audio(samples, info.rx_sample_rate))
            self._attend(samples, info.rx_sample_rate)
        if info.tx_ready and len(self._to_say):
            period = 2 * info.tx_channels * round(info.tx_sample_rate * PERIOD_S)
            room = _AHEAD_PERIODS * period - info.tx_buffered
            if room > 0:
                taken = audio.write(self._to_say[: room // 2].tobytes())
                self._to_say = self._to_say[taken // 2 :]

    def _attend(self, samples: Any, rate_hz: int) -> None:
        self._audible_s += float(np.count_nonzero(np.abs(samples.astype(np.int32)) > _AUDIBLE)) / rate_hz
        if self._listening and self._audible_s > _AUDIBLE_S:
            self._listening = False
            _tell(audible="")

    def _write(self) -> None:
        if self._heard:
            parts = [resample(audio, SPEECH_RATE_HZ) for audio in _joined(self._heard)]
            write_wav(
                self._recording,
                Audio(np.concatenate([part.as_int16() for part in parts]), SPEECH_RATE_HZ),
            )


def _joined(parts: list[Audio]) -> Iterator[Audio]:
    """Neighbours of the same rate as one: a resampler starts anew with each."""
    at = 0
    while at < len(parts):
        to = at
        while to < len(parts) and parts[to].rate_hz == parts[at].rate_hz:
            to += 1
        yield Audio(np.concatenate([part.as_int16() for part in parts[at:to]]), parts[at].rate_hz)
        at = to


async def _once_it_may(act: Callable[[], Awaitable[None]]) -> None:
    """baresip offers something of its own after each call's beginning, and one offer at a time."""
    import baresip

    for _ in range(_OFFERS_TRIED):
        try:
            return await act()
        except baresip.BaresipError:
            await asyncio.sleep(PERIOD_S)
    return await act()


async def _tried(errand: Any) -> None:
    import baresip

    try:
        await errand
    except baresip.BaresipError as error:
        _tell(refused=f"{type(error).__name__}: {error}")


def _tell(**note: Any) -> None:
    print(json.dumps(note), flush=True)


async def _main(options: dict[str, Any]) -> None:
    import baresip

    runtime = baresip.Runtime()
    at = f"127.0.0.1:{options['port']}"
    first, last = options["media"]
    await runtime.start(
        baresip.Config(
            net_interface="127.0.0.1",
            max_concurrent_calls=None,
            extra_config_text=f"sip_listen {at}\nrtp_ports {first}-{last}\n",
        )
    )
    agent = await baresip.UserAgent.create(
        runtime,
        baresip.Account(
            "carol",
            at,
            "",
            reg_interval=0,
            audio_codecs=(_SPECS[options["codec"]],),
            dtmf_mode=options["digits_by"],
            extra_params=("mediaenc=srtp-mand",) if options["srtp"] else (),
        ),
    )
    phone = _Phone(agent, Path(options["to"]))
    runtime.subscribe(phone.note)
    _tell(listens=at)
    async with asyncio.TaskGroup() as tasks:
        passing = tasks.create_task(phone.pass_sound())
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, *arguments = json.loads(line)
            await _tried(getattr(phone, name)(*arguments))
        passing.cancel()
    await runtime.close()


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
