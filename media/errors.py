"""Every error this project raises, by whose fault it is.

`CallerError` becomes a 4xx or a Realtime `error` event, `EngineError` is the engines' (and says whether
trying again can help), `ToolError` a tool's, `ServerFault` is ours. `code` is a stable, machine-readable
snake_case word.
"""


class VoxtralKokoroError(Exception):
    """Root of the tree. `str(error)` is one sentence that says what to do."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class CallerError(VoxtralKokoroError):
    """The caller asked for something that cannot be. `param` names the field at fault, if there is one."""

    code = "invalid_request"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class ConfigError(CallerError):
    """The configuration does not hold together."""

    code = "invalid_configuration"


class ServerFull(CallerError):
    """No call slot is free, or the server is draining. Try again after `retry_after_s`."""

    code = "server_full"

    def __init__(self, message: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class EngineError(VoxtralKokoroError):
    """An engine failed. `retryable`: the same request may succeed if it is sent again."""

    code = "engine_error"

    def __init__(self, message: str, *, code: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, code=code)
        self.retryable = retryable


class EngineOutOfMemory(EngineError):
    """An engine found no memory for its work. It is unloaded, and started again."""

    code = "out_of_memory"


class ModelMissing(EngineError):
    """A model's files are absent, truncated or not the pinned ones."""

    code = "model_missing"


class VoiceUnavailable(CallerError):
    """The voice is unknown, or its language cannot be spoken by this installation."""

    code = "voice_unavailable"


class ToolError(VoxtralKokoroError):
    """A tool could not be called, or failed. The LLM is told the sentence, and the call goes on."""

    code = "tool_error"


class ServerFault(VoxtralKokoroError):
    """Ours: a bug, or a machine that refuses us something we need."""


def first_error(group: BaseExceptionGroup[VoxtralKokoroError]) -> VoxtralKokoroError:
    """One error of a group: where several tasks failed, each for its own reason, the first is told."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, VoxtralKokoroError)
    return error
