"""A language model of the real classes, so small that a test can teach it what it is to say."""

from __future__ import annotations

import string
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from media.engines.chat_prompt import ChatPrompts
from media.engines.protocols import LlmRequest

CONTEXT_TOKENS = 512

TEMPLATE = (
    "{%- if tools %}<|im_start|>tools {%- for tool in tools %} {{ tool.function.name }}{% endfor %}"
    " as <tool_call><|im_end|>{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}"
    "{%- for call in message.tool_calls or () %}"
    "<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
"""ChatML, with tools as Qwen has them, in short."""


def tokenizer() -> Any:
    """A token for each letter."""
    letters = sorted({"Ġ", "Ċ", *string.ascii_letters, *string.digits, *string.punctuation})
    special = ["<|im_start|>", "<|im_end|>"]
    vocabulary = {letter: at for at, letter in enumerate(letters)}
    bare = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bare.add_special_tokens([AddedToken(token, special=True) for token in special])
    made = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|im_end|>")
    made.chat_template = TEMPLATE
    return made


def taught(folder: Path, replies: Mapping[LlmRequest, str], *, steps: int = 120) -> None:
    """Makes a model that replies so, and puts it into a folder.

    Args:
        folder: as `from_pretrained` takes it.
        replies: to each of these requests.
        steps: of its lessons.
    """
    torch.manual_seed(7)
    words = tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT_TOKENS,
            eos_token_id=words.eos_token_id,
            bos_token_id=None,
            pad_token_id=words.eos_token_id,
        )
    )
    prompts = ChatPrompts(words, "tiny")
    lessons = [_lesson(words, prompts.prompt(request).tokens, reply) for request, reply in replies.items()]
    length = max(len(tokens) for tokens, _ in lessons)
    tokens = torch.tensor([[*row, *[words.eos_token_id] * (length - len(row))] for row, _ in lessons])
    labels = torch.tensor([[*row, *[-100] * (length - len(row))] for _, row in lessons])
    attention = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row, _ in lessons])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps)
        optimizer.zero_grad()
        model(input_ids=tokens, attention_mask=attention, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        words.save_pretrained(folder)


def _lesson(words: Any, prompt: Sequence[int], reply: str) -> tuple[list[int], list[int]]:
    """The tokens of prompt and reply, and those that are to be learnt."""
    answer = [*words(reply, add_special_tokens=False)["input_ids"], words.eos_token_id]
    return [*prompt, *answer], [*[-100] * len(prompt), *answer]
