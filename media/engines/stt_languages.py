"""Which languages a turn may be announced in."""

from __future__ import annotations

from media.engines.protocols import SttEngine, SttOptions
from media.errors import EngineError


def require_language(engine: SttEngine, options: SttOptions) -> None:
    """Refuses a turn in a language that the engine does not transcribe.

    Raises:
        EngineError: `language_unavailable`.
    """
    if options.language is not None and options.language not in engine.languages:
        raise EngineError(
            f"{engine.name} does not transcribe the language {options.language}.",
            code="language_unavailable",
        )
