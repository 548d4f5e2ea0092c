"""Who has which of a language model's slots."""

from __future__ import annotations

from media.engines.conversation_slots import Slots


def slot_of(slots: Slots, conversation: str) -> int:
    with slots.of(conversation) as slot:
        return slot


def test_a_conversation_comes_back_to_its_slot() -> None:
    slots = Slots(3)
    first = {name: slot_of(slots, name) for name in ("ann", "bob", "cleo")}
    assert sorted(first.values()) == [0, 1, 2]
    for name in ("cleo", "ann", "bob", "ann"):
        assert slot_of(slots, name) == first[name]


def test_a_new_one_takes_over_what_was_unused_for_longest() -> None:
    slots = Slots(2)
    ann, bob = slot_of(slots, "ann"), slot_of(slots, "bob")
    slot_of(slots, "ann")
    assert slot_of(slots, "cleo") == bob
    assert slot_of(slots, "ann") == ann


def test_a_slot_in_use_is_taken_over_last() -> None:
    slots = Slots(2)
    with slots.of("ann") as ann:
        bob = slot_of(slots, "bob")
        assert slot_of(slots, "cleo") == bob
        with slots.of("bob"):
            assert slot_of(slots, "dora") == ann


def test_nobodys_requests_share_nothing() -> None:
    slots = Slots(2)
    with slots.of("") as one, slots.of("") as other:
        assert one != other
