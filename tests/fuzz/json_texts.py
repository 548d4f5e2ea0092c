"""Messages that should not be: JSON that is nearly right, and texts that are none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

WORDS = st.text(st.sampled_from('ab0é"\\{}[] \x00\u2028😀'), max_size=8)
NUMBERS = st.sampled_from([0, -1, 1, 3, 0.5, -0.5, 300, 10**6, 2**63, 10**30, 1e308, -1e308])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS
JUNK: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)

NO_JSON = st.sampled_from(
    [
        "",
        " ",
        "{",
        "null",
        "[]",
        '"response.create"',
        "\ufeff{}",
        "[" * 10_000,
        '{"type":' * 500,
        '{"type": "response.create", "type": "session.update"}',
        '{"type": "session.update", "session": {"audio": {"output": {"speed": NaN}}}}',
        '{"type": "session.update", "session": {"audio": {"output": {"speed": Infinity}}}}',
        '{"type": "session.update", "session": {"audio": {"output": {"speed": 1e999}}}}',
        '{"type": "conversation.item.delete", "item_id": "\\ud800"}',
        '{"type": "conversation.item.delete", "item_id": "\ud800"}',
        '{"type": "conversation.item.delete", "item_id": "\ufffd"}',
        '{"type": "response.cancel", "event_id": ' + "9" * 5000 + "}",
        '{"type": "response.cancel", "response_id": "' + "x" * 70_000 + '"}',
        "x" * 300_000,
    ]
)
"""Also what is JSON to some and not to others."""


@st.composite
def spoilt(draw: st.DrawFn, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One of the events with something changed, somewhere."""
    event: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(events))))
    for _ in range(draw(st.integers(1, 2))):
        at: Any = event
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if at is event and "type" in event and len(keys) > 1 and draw(st.integers(0, 9)):
                # Without its type it would be no more than any other nonsense.
                keys.remove("type")
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and draw(st.integers(0, 3)):
                at = at[key]
                continue
            match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
                case "replace":
                    at[key] = draw(JUNK)
                case "remove":
                    del at[key]
                case "add" if isinstance(at, dict):
                    at[draw(WORDS)] = draw(JUNK)
            break
    return event


def texts(events: Sequence[dict[str, Any]]) -> st.SearchStrategy[str]:
    """Messages of a protocol whose right ones are given: right, nearly so, or nonsense."""
    right = st.sampled_from(events).map(json.dumps)
    nearly = spoilt(events).map(json.dumps)
    cut = st.tuples(right, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
    nonsense = st.one_of(cut, NO_JSON, JUNK.map(json.dumps), WORDS)
    return st.sampled_from([right] * 4 + [nearly] * 5 + [nonsense]).flatmap(lambda kind: kind)
