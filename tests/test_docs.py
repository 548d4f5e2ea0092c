"""The docs say what the code does, and point at what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from bench import pipecat_peer
from docs.generate_diagrams import PAGE, with_diagrams
from signaling.ws_messages import ClientMessage, ServerMessage
from tests.peers.test_python_clients import LIVEKIT

ROOT = PAGE.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_diagrams_are_the_tables() -> None:
    page = PAGE.read_text()
    assert with_diagrams(page) == page, "run: python docs/generate_diagrams.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def by_type(union: object) -> dict[str, type[BaseModel]]:
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}


def objects(text: str) -> Iterator[dict[str, Any]]:
    """One JSON object after the other. What is left out of one is marked by an ellipsis."""
    text = text.replace(", …", "").lstrip()
    while text:
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:].lstrip()


@pytest.mark.parametrize(
    ("heading", "union"), [("From the client", ClientMessage), ("From the server", ServerMessage)]
)
def test_the_messages_of_ws_are_in_its_tables(heading: str, union: object) -> None:
    page = (ROOT / "docs" / "websocket.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    models = by_type(union)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(models)
    examples = list(objects(section.partition("```json\n")[2].partition("```")[0]))
    assert len(examples) > 4
    for example in examples:
        assert example.keys() <= models[example["type"]].model_fields.keys(), example


def test_clients_are_of_the_versions_that_are_tested() -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    packages = json.loads((ROOT / "tests" / "peers" / "npm" / "package.json").read_text())["dependencies"]
    del packages["esbuild"]
    tested = packages | {"pipecat-ai": pipecat_peer.VERSION, "livekit-plugins-openai": LIVEKIT}
    for client, version in tested.items():
        rows = [row.split("|") for row in page.splitlines() if row.startswith("|") and f"`{client}`" in row]
        assert rows, client
        assert all(version in row[2] for row in rows), client
