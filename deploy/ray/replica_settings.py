"""What is known of a replica where the application is built, and what only the replica's machine decides."""

from __future__ import annotations

import os

from server.config import Config, decided
from server.config_sources import Source
from server.profiles import Machine, look


def room_of(settings: Source) -> int:
    """How many requests a replica takes at once, of all engines together.

    Raises:
        ConfigError: a setting cannot be, on whatever machine.
    """
    slots = decided(settings, Machine).engine_host
    return slots.max_transcriptions + slots.max_replies + slots.max_clauses


def decided_here(settings: Source) -> Config:
    """What this machine makes of the settings, by the GPUs that it shows: on a replica those that Ray gave.

    Raises:
        ConfigError: it cannot follow the profile.
    """
    return decided(settings, lambda: look(os.environ))
