"""Events of an answer that an endpoint streams: JSON objects, and `[DONE]` after the last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from media.engines.openai_faults import EndpointFault, EndpointUse, fault_of_event

_DONE = "[DONE]"


def event_of(use: EndpointUse, data: str) -> Mapping[str, Any] | None:
    """What an event's data say; None where they say that it was the last.

    Raises:
        EndpointFault: they tell of one, or are no object.
    """
    if data.strip() == _DONE:
        return None
    try:
        event = json.loads(data)
    except ValueError:
        raise EndpointFault(f"{use.endpoint} sent an event that is not JSON.") from None
    if not isinstance(event, Mapping):
        raise EndpointFault(f"{use.endpoint} sent an event that is no object.")
    if error := event.get("error"):
        raise fault_of_event(use, error)
    return event
