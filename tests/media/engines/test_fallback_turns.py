"""Turns that change their transcriber: whatever it does wrong, and whenever, no word is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from media.audio import Audio
from media.engines.fallback import FallbackStt
from media.engines.protocols import SttOptions, Transcript
from media.engines.stt_languages import require_language
from media.errors import EngineError
from tests import virtual_time
from tests.scripted import ScriptedStt, ScriptedSttSession, speech

DOWN = EngineError("The endpoint cannot be reached.", code="stt_unreachable")


@dataclass
class OfLanguages(ScriptedStt):
    """Refuses the languages that it has not, like the real ones."""

    def open(self, options: SttOptions) -> ScriptedSttSession:
        require_language(self, options)
        return super().open(options)


def test_one_that_has_not_the_language_and_is_asked_first_is_passed_over() -> None:
    async def main() -> None:
        first = OfLanguages("first", says=(DOWN, "que hora es"), languages=("en", "es"))
        second = OfLanguages("second", says=("what time is it",), languages=("en",))
        stt = FallbackStt((first, second), lambda _event: None)
        await stt.start()
        for options, text in ((SttOptions("en"), "what time is it"), (SttOptions("es"), "que hora es")):
            session = stt.open(options)  # the second time while the first one rests
            await session.push(speech(1.0))
            assert (await session.flush()).text == text
            await session.abort()

    virtual_time.run(main())


class BrokenPartials(ScriptedSttSession):
    wrong: Any = None

    async def partials(self) -> AsyncIterator[Transcript]:
        await asyncio.sleep(0.1)
        if self.wrong is not None:
            yield Transcript(self.wrong, 0.5)
        raise KeyError("logits")


@pytest.mark.parametrize("wrong", [None, 12])
def test_partials_that_break_are_the_engines_failure_like_any_other(wrong: Any) -> None:
    class Breaking(ScriptedStt):
        def open(self, options: SttOptions) -> ScriptedSttSession:
            session = BrokenPartials(options, "", self.takes_s)
            session.wrong = wrong
            return session

    async def main() -> list[str]:
        stt = FallbackStt((Breaking(), ScriptedStt(says=("what time is it",))), lambda _event: None)
        await stt.start()
        session = stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        heard = []
        async for transcript in session.partials():
            heard.append(transcript.text)
            await session.abort()
        return heard

    assert virtual_time.run(main()) == ["what time"]


def test_what_is_said_while_a_session_breaks_is_heard_by_the_next() -> None:
    """Its `push` takes its time, amid which it fails, and another one is opened."""

    class Slow(ScriptedSttSession):
        async def push(self, audio: Audio) -> None:
            await super().push(audio)
            await asyncio.sleep(1.0)

        async def partials(self) -> AsyncIterator[Transcript]:
            await asyncio.sleep(0.5)
            yield Transcript("", 0.0)
            raise DOWN

    class SlowStt(ScriptedStt):
        def open(self, options: SttOptions) -> ScriptedSttSession:
            return Slow(options, "", self.takes_s)

    async def main() -> None:
        second = ScriptedStt(says=("what time is it",))
        stt = FallbackStt((SlowStt(), second), lambda _event: None)
        await stt.start()
        session = stt.open(SttOptions("en"))
        async with asyncio.TaskGroup() as tasks:
            pushing = tasks.create_task(session.push(speech(1.0)))
            async for transcript in session.partials():
                if transcript.text:
                    assert not pushing.done()
                    assert (await session.flush()).audio_s == 1.0
                    await session.abort()

    virtual_time.run(main())
