"""Two transcribers as one."""

from __future__ import annotations

import pytest

from media.engines.protocols import SttOptions
from media.engines.stt_by_language import SttByLanguage
from media.errors import EngineError
from tests import virtual_time
from tests.scripted import ScriptedStt


def both() -> tuple[ScriptedStt, ScriptedStt, SttByLanguage]:
    english = ScriptedStt("small (en)", languages=("en",))
    multilingual = ScriptedStt("large", languages=("en", "de", "es"))
    return english, multilingual, SttByLanguage(english, multilingual)


@pytest.mark.parametrize(("language", "chosen"), [("en", 0), ("de", 1), (None, 1)])
def test_the_language_chooses(language: str | None, chosen: int) -> None:
    async def main() -> None:
        english, multilingual, stt = both()
        stt.open(SttOptions(language))
        assert [len(english.sessions), len(multilingual.sessions)] == [1 - chosen, chosen]

    virtual_time.run(main())


def test_it_speaks_for_both() -> None:
    _, _, stt = both()
    assert stt.languages == ("en", "de", "es")
    assert stt.name == "small (en), large"


def test_both_start_and_close() -> None:
    async def main() -> None:
        english, multilingual, stt = both()
        await stt.start()
        assert (english.started, multilingual.started) == (True, True)
        await stt.close()
        assert (english.started, multilingual.started) == (False, False)

    virtual_time.run(main())


def test_the_first_failure_is_told_as_it_is() -> None:
    class Broken(ScriptedStt):
        async def start(self) -> None:
            raise EngineError("no model")

    async def main() -> None:
        with pytest.raises(EngineError, match="no model"):
            await SttByLanguage(ScriptedStt(), Broken()).start()

    virtual_time.run(main())
