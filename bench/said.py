"""Clips of which it is known what is said in them: recordings with a transcript, or synthesised questions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from bench.clips import QUESTIONS, read_clip, synthesised
from media.audio import Audio

SHORTEST_S = 1.0
LONGEST_S = 12.0


@dataclass(frozen=True, slots=True)
class Said:
    """A clip, at 16 kHz, and its words in English."""

    name: str
    audio: Audio
    words: str


def said_clips(folder: Path, limit: int) -> list[Said]:
    """At most so many of a folder's recordings that are for word error rates, spread over its manifest.

    Synthesised ones where it has no `manifest.jsonl`.
    """
    if not (folder / "manifest.jsonl").exists():
        return _synthesised()[:limit]
    clips = []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        english = entry.get("language") == "en" and entry.get("transcript")
        if english and "wer" in (entry.get("use") or ()) and SHORTEST_S <= entry["seconds"] <= LONGEST_S:
            clips.append(Said(entry["path"], read_clip(folder / entry["path"]), entry["transcript"]))
    step = max(1, -(-len(clips) // limit))
    return clips[::step]


def _synthesised() -> list[Said]:
    from server.config import load_config
    from server.engines import build_engines

    clips = asyncio.run(synthesised(build_engines(load_config(None, {})).tts))
    return [Said(clip.name, clip.audio, text) for clip, (_, text) in zip(clips, QUESTIONS, strict=True)]
