"""The `kokoro` package's `KModel` with its weights, from the hub's files or from the embedded ONNX model.

Nothing is downloaded. `KModel` is told everything: its configuration, and weights in memory.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from media.engines.kokoro_onnx_weights import read_weights
from media.engines.kokoro_vocabulary import TOKEN_IDS
from media.engines.model_files import damaged, require_files
from media.engines.onnx_graph import OnnxGraph
from media.errors import EngineError, ModelMissing

CONFIG_FILE, WEIGHTS_FILE = "config.json", "kokoro-v1_0.pth"
"""The hub's names, in `hexgrad/Kokoro-82M`."""

REPOSITORY = "hexgrad/Kokoro-82M"

CONFIG: dict[str, Any] = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "resblock_kernel_sizes": [3, 7, 11],
        "upsample_initial_channel": 512,
    },
    "dropout": 0.2,
    "hidden_dim": 512,
    "max_dur": 50,
    "n_layer": 3,
    "n_mels": 80,
    "n_token": 178,
    "style_dim": 128,
    "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 2048,
        "max_position_embeddings": 512,
        "num_hidden_layers": 12,
        "dropout": 0.1,
    },
    "vocab": TOKEN_IDS,
}
"""What Kokoro-82M v1.0's `config.json` says of the network. The ONNX model's weights have these sizes."""

_UNUSED = (".norm.weight", ".norm.bias", "pooler.weight", "pooler.bias")
"""The instance norms' own scales and shifts, which are ones and zeros, and what no speech is made with."""

_NOT_LOADED: tuple[type[Exception], ...] = (
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, OSError),
    pickle.UnpicklingError,
)
"""What reading files raises that are damaged or of another network."""


def load_hub(folder: Path) -> Any:
    """The model from the hub's two files.

    Raises:
        ModelMissing: one is absent or damaged.
    """
    config_file, weights_file = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for file in (config_file, weights_file):
        if not file.is_file():
            raise ModelMissing(
                f"The model file {file} is missing: put {CONFIG_FILE} and {WEIGHTS_FILE} of {REPOSITORY} "
                "there, or name no folder to use the embedded model's weights."
            )
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        weights = torch.load(weights_file, map_location="cpu", weights_only=True)
        model = new_model(config)
        # Each part was trained in a wrapper of its own.
        state = {
            f"{part}.{name.removeprefix('module.')}": values
            for part, parameters in weights.items()
            for name, values in parameters.items()
        }
        _load(model, state)
    except _NOT_LOADED as error:
        raise ModelMissing(
            f"{CONFIG_FILE} or {WEIGHTS_FILE} in {folder} is damaged or of another model: download them "
            f"again from {REPOSITORY} ({error})."
        ) from error
    fold(model)
    return model


def load_onnx(file: Path) -> Any:
    """The model with the weights of the embedded engine's `kokoro-v1.0.int8.onnx`, multiplied out.

    Raises:
        ModelMissing: the file is absent, damaged, or no Kokoro.
    """
    require_files(file)
    try:
        weights = read_weights(OnnxGraph(file.read_bytes()))
    except (ValueError, LookupError) as error:
        raise damaged(file) from error
    model = new_model(CONFIG)
    fold(model)
    try:
        _load(model, {name: torch.from_numpy(values.copy()) for name, values in weights.items()})
    except (RuntimeError, ValueError) as error:  # a size is another, or something is missing
        raise damaged(file) from error
    return model


def new_model(config: dict[str, Any]) -> Any:
    """A `KModel` with random weights, for inference.

    Raises:
        EngineError: the `kokoro` package is not installed.
    """
    try:
        from kokoro.model import KModel
    except ImportError as error:
        raise EngineError(
            f"The engine kokoro-torch needs the package kokoro: pip install 'voxtral-kokoro[gpu]' ({error})."
        ) from error
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with warnings.catch_warnings():
        # How the package builds its layers, which is not for anybody here to change.
        warnings.filterwarnings("ignore", "`torch.nn.utils.weight_norm` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "dropout option adds dropout after all but last", UserWarning)
        return KModel(repo_id=REPOSITORY, config=config, model=nothing).eval().requires_grad_(False)


def _load(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Raises:
    ValueError: something is missing.
    RuntimeError: a size is another.
    """
    missing = [
        name for name in model.load_state_dict(state, strict=False).missing_keys if not name.endswith(_UNUSED)
    ]
    if missing:
        raise ValueError(f"{len(missing)} parameters are missing, {missing[0]} among them")


def fold(model: Any) -> None:
    """Makes plain weights of those that are written as a length and a direction, once for all."""
    for module in model.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
        if isinstance(module, torch.nn.LSTM):
            module.flatten_parameters()
