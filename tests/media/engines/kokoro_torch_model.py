"""`KModel` with random weights: the real classes and the real generator, with smaller networks in front."""

from __future__ import annotations

from typing import Any

import torch

from media.engines.kokoro_torch_weights import CONFIG, fold, new_model
from media.engines.kokoro_vocabulary import token_ids

TEXTS = ("həlˈO wˈɜɹld.", "ˈO.", "fˈɑks.")
SPEEDS = (1.0, 0.8, 1.1)


SMALL_CONFIG = CONFIG | {
    "n_layer": 2,
    "max_dur": 3,
    "plbert": CONFIG["plbert"]
    | {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 2},
    "istftnet": CONFIG["istftnet"] | {"resblock_kernel_sizes": [3, 3, 5]},
}


def small_model(*, seed: int = 0, folded: bool = True) -> Any:
    """A model whose clauses are short, and whose norms are no identities."""
    torch.manual_seed(seed)
    model = new_model(SMALL_CONFIG)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.InstanceNorm1d):
            torch.nn.init.normal_(module.weight, 1.0, 0.1)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
        if name.endswith("F0_proj"):
            # Half of the frames are voiced: random weights alone give no pitch above the threshold.
            torch.nn.init.constant_(module.bias, 120.0)
    if folded:
        fold(model)
    return model


def tokens() -> list[list[int]]:
    """Without their pads."""
    return [token_ids(text) for text in TEXTS]


def styles(rows: int = len(TEXTS)) -> torch.Tensor:
    return torch.randn(rows, 256, generator=torch.Generator().manual_seed(1)) * 0.3
