"""Models by the name that a hub knows them by, or in a directory here: loaded, or why not in one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import transformers
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, StrictDataclassError
from mistral_common.exceptions import MistralCommonException

from media.engines.backend_failures import is_out_of_memory
from media.errors import EngineError, EngineOutOfMemory, ModelMissing

T = TypeVar("T")

_ABSENT: tuple[type[BaseException], ...] = (OSError, EntryNotFoundError, HfHubHTTPError.__mro__[1])
"""The last is httpx's `HTTPError`, of whichever httpx the hub's client uses."""

_NOT_UNDERSTOOD = (
    RuntimeError,
    ValueError,
    LookupError,
    ImportError,
    safetensors.SafetensorError,
    StrictDataclassError,
    MistralCommonException,
    # What the libraries stumble over where a file is JSON, but not what they expect.
    TypeError,
    AttributeError,
    AssertionError,
)

_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LONGEST_REASON_CHARS = 200


def short_name(model: str) -> str:
    """What people call it: `Voxtral-Mini-3B-2507`."""
    return Path(model).name


def load_from_hub(model: str, setting: str, load: Callable[[str], T]) -> T:
    """What `load` makes of a model.

    Args:
        model: a hub's repository (`mistralai/Voxtral-Mini-3B-2507`), or a directory.
        setting: which names it, for who has to change it: `model.name`.
        load: given the directory or the repository. Fetches what the hub's cache does not hold.

    Raises:
        ModelMissing: it is not there, or not whole.
        EngineOutOfMemory: there is no room for it.
        EngineError: its files are not understood.
    """
    where = str(Path(model).expanduser()) if _is_path(model) else model
    if _is_path(model) and not Path(where).is_dir():
        raise ModelMissing(f"The model directory {where} is missing: set {setting} to a model's directory.")
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()  # a log has lines
    try:
        return load(where)
    except _ABSENT as error:
        remedy = (
            f"complete it, or set {setting} to another"
            if Path(where).is_dir()
            else f"fetch it with `hf download {where}` (HF_TOKEN gives access to a gated one), "
            f"or set {setting} to its directory"
        )
        raise ModelMissing(f"The model {where} cannot be loaded: {remedy}. {_reason(error)}") from None
    except _NOT_UNDERSTOOD as error:
        if is_out_of_memory(error):
            raise EngineOutOfMemory(
                f"The model {where} does not fit into memory: choose another device, or a smaller model."
            ) from None
        raise EngineError(f"The model {where} ({setting}) cannot be loaded. {_reason(error)}") from None


def whole(kind: Any, where: str, setting: str, **options: Any) -> Any:
    """A model of a class of transformers', which would fill what a checkpoint lacks with random weights, and
    go on with a warning.

    Args:
        kind: the class.
        where: as `load_from_hub` gives it.
        setting: as of `load_from_hub`.
        options: of `from_pretrained`.

    Raises:
        ModelMissing: the checkpoint lacks weights. (Those tied to others, and what is computed, are none. Of
            one that is quantised itself that is not told: its library's layers have more than it has.)
    """
    model, found = kind.from_pretrained(where, output_loading_info=True, **options)
    is_quantised = getattr(model.config, "quantization_config", None) and "quantization_config" not in options
    if (lacking := sorted(found["missing_keys"])) and not is_quantised:
        raise ModelMissing(
            f"The model {where} lacks {len(lacking)} of its weights, {lacking[0]} among them: fetch it anew, "
            f"or set {setting} to another."
        )
    return model.eval()


def config_of(model: str, setting: str, kind: str) -> dict[str, Any]:
    """What a model's `config.json` says, before anything large is fetched or built.

    A class of transformers' takes any model's configuration for its own: it would build what that lacks to
    its own defaults, in full size and with random weights, before it misses the first weight.

    Args:
        model, setting: as `load_from_hub`.
        kind: what its `model_type` has to be.

    Raises:
        ModelMissing: there is none.
        EngineError: it is not understood, or of another kind.
    """

    def load(where: str) -> dict[str, Any]:
        config, _ = transformers.PretrainedConfig.get_config_dict(where)
        return dict(config)

    config = load_from_hub(model, setting, load)
    if (found := config.get("model_type")) != kind:
        is_of = f"is of the type {found}" if isinstance(found, str) else "does not say of which type it is"
        raise EngineError(
            f"The model {model} cannot be loaded: its config.json {is_of}, and this engine's models are "
            f"{kind}. Set {setting} to one of those, or the engine to another.",
            code="model_unfit",
        )
    return config


def _is_path(model: str) -> bool:
    """A repository is OWNER/NAME. A directory of that name goes first, as with every tool of the hub's."""
    return model.startswith(("/", ".", "~")) or model.count("/") != 1 or Path(model).is_dir()


def _reason(error: BaseException) -> str:
    """The first line of what a library says, without an access token."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    for token in filter(None, map(os.environ.get, _TOKEN_VARIABLES)):
        line = line.replace(token, "…")
    return line if len(line) <= _LONGEST_REASON_CHARS else f"{line[:_LONGEST_REASON_CHARS]}…"
