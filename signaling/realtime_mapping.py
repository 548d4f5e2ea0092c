"""Between the conversation's items and responses and the Realtime API's. Pure functions, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import assert_never

from media.audio import Audio
from media.errors import CallerError
from media.items import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Modality,
    Part,
    Response,
    ResponseOptions,
    Usage,
    new_id,
)
from signaling.realtime_audio import audio_in_turns, audio_of
from signaling.realtime_base import AudioFormat
from signaling.realtime_items import (
    FunctionCallFromClient,
    FunctionCallOutputFromClient,
    ItemFromClient,
    ItemOrReference,
    ItemReference,
    MessageFromClient,
    PartFromClient,
    WireFunctionCall,
    WireFunctionCallOutput,
    WireItem,
    WireMessage,
    WirePart,
)
from signaling.realtime_responses import (
    CachedTokensDetails,
    InputTokenDetails,
    OutputTokenDetails,
    ResponseAudio,
    ResponseAudioOutput,
    ResponseRequest,
    StatusDetails,
    StatusError,
    WireResponse,
    WireUsage,
)
from signaling.realtime_session_mapping import WireState
from signaling.realtime_tools import choice_from_client, tools_from_client

_PARTS_OF_ROLE = {
    "user": ("input_text", "input_audio"),
    "assistant": ("output_text", "output_audio"),
    "system": ("input_text",),
}

# --- from the client -------------------------------------------------------------------------------------


def item_from_client(wire: ItemFromClient, param: str = "item") -> Item:
    """A message that a client wrote, a tool's output, or an item that it gives back from an earlier call.

    Args:
        wire: the client's.
        param: where it stands.

    Raises:
        CallerError: a part that its role cannot have, or one without its text.
    """
    item_id = wire.id or new_id("item")
    match wire:
        case MessageFromClient():
            parts = tuple(
                _part_from_client(wire.role, f"{param}.content[{index}]", part)
                for index, part in enumerate(wire.content)
            )
            return Message(item_id, wire.role, parts)
        case FunctionCallFromClient():
            return FunctionCall(item_id, wire.call_id or new_id("call"), wire.name, wire.arguments)
        case FunctionCallOutputFromClient():
            return FunctionCallOutput(item_id, wire.call_id, wire.output)
        case _:
            assert_never(wire)


def recordings_from_client(wire: ItemFromClient, form: AudioFormat) -> dict[int, Audio]:
    """The speech in a user's message whose words are not given with it, by its part's index.

    Raises:
        CallerError: one that is no audio of that format.
    """
    recordings: dict[int, Audio] = {}
    for index, text in _recorded(wire):
        with _told_of_part(index):
            recordings[index] = audio_of(text, form)
    return recordings


async def recordings_in_turns(wire: ItemFromClient, form: AudioFormat) -> dict[int, Audio]:
    """`recordings_from_client`, which lets the other calls have their turns meanwhile."""
    recordings: dict[int, Audio] = {}
    for index, text in _recorded(wire):
        with _told_of_part(index):
            recordings[index] = await audio_in_turns(text, form)
    return recordings


def _recorded(wire: ItemFromClient) -> Iterator[tuple[int, str]]:
    if isinstance(wire, MessageFromClient) and wire.role == "user":
        for index, part in enumerate(wire.content):
            if part.type == "input_audio" and part.transcript is None and part.audio is not None:
                yield index, part.audio


@contextmanager
def _told_of_part(index: int) -> Iterator[None]:
    try:
        yield
    except CallerError as error:
        param = f"item.content[{index}].audio"
        raise CallerError(str(error), code=error.code, param=param) from None


def _part_from_client(role: str, param: str, part: PartFromClient) -> Part:
    if part.type == "input_image":
        raise CallerError("Nobody here can see pictures.", code="invalid_value", param=f"{param}.type")
    if part.type not in _PARTS_OF_ROLE[role]:
        allowed = " or ".join(_PARTS_OF_ROLE[role])
        raise CallerError(
            f"The content of a message from the {role} is {allowed}, not {part.type}.",
            code="invalid_value",
            param=f"{param}.type",
        )
    field = "transcript" if part.type.endswith("_audio") else "text"
    text = part.transcript if field == "transcript" else part.text
    if text is None and not (part.type == "input_audio" and part.audio is not None):
        raise CallerError(
            f"A part of type {part.type} carries its {field}.",
            code="missing_required_parameter",
            param=f"{param}.{field}",
        )
    return Part(kind=part.type, text=text)


def response_options(request: ResponseRequest | None, find: Callable[[str], Item]) -> ResponseOptions:
    """How the response that a client asks for differs from its session.

    Args:
        request: the client's.
        find: the conversation's item of an id, or a `CallerError`.

    Raises:
        CallerError: an item of the input cannot be, or is not there.
    """
    if request is None:
        return ResponseOptions()
    output = request.audio.output if request.audio is not None else None
    return ResponseOptions(
        instructions=request.instructions,
        modality=request.output_modalities[0] if request.output_modalities else None,
        max_output_tokens=request.max_output_tokens,
        metadata=tuple((request.metadata or {}).items()),
        tools=None if request.tools is None else tools_from_client(request.tools),
        tool_choice=choice_from_client(request.tool_choice),
        parallel_calls=request.parallel_tool_calls,
        conversation=request.conversation or "auto",
        input=_input(request.input, find),
        voice=output.voice if output is not None else None,
    )


def _input(wire: tuple[ItemOrReference, ...] | None, find: Callable[[str], Item]) -> tuple[Item, ...] | None:
    if wire is None:
        return None
    items = []
    for index, item in enumerate(wire):
        param = f"response.input[{index}]"
        if not isinstance(item, ItemReference):
            _require_words(item, param)
            items.append(item_from_client(item, param))
            continue
        try:
            items.append(find(item.id))
        except CallerError as error:
            raise CallerError(str(error), code=error.code, param=f"{param}.id") from None
    return tuple(items)


def _require_words(wire: ItemFromClient, param: str) -> None:
    if not isinstance(wire, MessageFromClient):
        return
    for index, part in enumerate(wire.content):
        if part.type == "input_audio" and part.transcript is None:
            raise CallerError(
                "Only the conversation's own items are transcribed: create one, and refer to it.",
                code="missing_required_parameter",
                param=f"{param}.content[{index}].transcript",
            )


# --- to the client ---------------------------------------------------------------------------------------


def item_to_wire(item: Item) -> WireItem:
    match item:
        case Message():
            content = tuple(_part_to_wire(part) for part in item.parts)
            return WireMessage(id=item.id, status=item.status, role=item.role, content=content)
        case FunctionCall():
            return WireFunctionCall(
                id=item.id,
                status=item.status,
                call_id=item.call_id,
                name=item.name,
                arguments=item.arguments,
            )
        case FunctionCallOutput():
            return WireFunctionCallOutput(
                id=item.id, status=item.status, call_id=item.call_id, output=item.output
            )
        case _:
            assert_never(item)


def _part_to_wire(part: Part) -> WirePart:
    if part.kind in ("input_audio", "output_audio"):
        return WirePart(type=part.kind, transcript=part.text)
    return WirePart(type=part.kind, text=part.text)


def response_to_wire(response: Response, wire: WireState) -> WireResponse:
    output = ResponseAudioOutput(format=wire.output_format, voice=response.voice)
    return WireResponse(
        id=response.id,
        status=response.status,
        status_details=_status_details(response),
        output=tuple(item_to_wire(item) for item in response.output),
        conversation_id=wire.conversation_id if response.conversation == "auto" else None,
        output_modalities=(response.modality,),
        max_output_tokens=response.max_output_tokens or "inf",
        audio=ResponseAudio(output=output) if response.modality == "audio" else None,
        metadata=dict(response.metadata) or None,
        usage=_usage_to_wire(response.usage),
    )


def _usage_to_wire(usage: Usage | None) -> WireUsage | None:
    if usage is None:
        return None
    return WireUsage(
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        input_token_details=InputTokenDetails(
            text_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            cached_tokens_details=CachedTokensDetails(text_tokens=usage.cached_tokens),
        ),
        output_token_details=OutputTokenDetails(text_tokens=usage.output_tokens),
    )


def _status_details(response: Response) -> StatusDetails | None:
    match response.status:
        case "in_progress" | "completed":
            return None
        case "cancelled" | "incomplete" as status:
            return StatusDetails(type=status, reason=response.reason)
        case "failed":
            error = StatusError(type="server_error", code=response.error_code, message=response.error)
            return StatusDetails(type="failed", error=error)
        case _:
            assert_never(response.status)


def spoken_or_written(item: Message, default: Modality) -> Modality:
    """Which an assistant's item is; the response's modality where it has no part yet."""
    if not item.parts:
        return default
    return "audio" if item.parts[0].kind == "output_audio" else "text"
