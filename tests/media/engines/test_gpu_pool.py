"""What PyTorch has of GPUs for the engines: limited, told, and sent from one process to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

pytest.importorskip("torch")

import torch

from media.engines import gpu_pool
from media.engines.channel import Unframer, frame
from media.engines.gpu_pool import GpuPool, gave_back, limit, pools, take_at_most, took
from media.engines.host import EngineHost, HostedEngines
from media.engines.memory import free_caches
from media.engines.wire import Done, FromEngines, GiveBack, Ping, Request, ToEngines
from tests import virtual_time
from tests.scripted import ScriptedEngines

MIB = 1 << 20
POOL = GpuPool("cuda:0", 5 * MIB, 8 * MIB, 16 * MIB, (("voxtral (a model)", 4 * MIB),))


def test_what_is_kept_and_used_by_nothing() -> None:
    assert POOL.idle_bytes == 3 * MIB


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_no_pool_and_nothing_is_taken_of_one() -> None:
    took("an engine", [torch.ones(3)])
    assert pools() == ()
    assert not gpu_pool._ledger.models
    gave_back("an engine")


def test_it_is_asked_for_with_the_ping_and_given_back_without_ado() -> None:
    said: list[FromEngines] = []

    async def main() -> None:
        scripted = ScriptedEngines()
        engines = HostedEngines(scripted.turn_end, scripted.stt, scripted.llm, scripted.tts)

        async def messages() -> AsyncIterator[ToEngines]:
            yield GiveBack()
            yield Request(1, Ping())
            while not said:  # noqa: ASYNC110
                await asyncio.sleep(0)

        await EngineHost(engines, said.append).serve(messages())

    virtual_time.run(main())
    assert said == [Done(1, pools())]


def test_it_arrives_as_it_was() -> None:
    answer = b"".join(bytes(piece) for piece in frame(Done(3, (POOL,))))
    assert list(Unframer().feed(answer)) == [Done(3, (POOL,))]
    order = b"".join(bytes(piece) for piece in frame(GiveBack()))
    assert list(Unframer().feed(order)) == [GiveBack()]


@pytest.fixture
def _unlimited() -> Iterator[None]:
    yield
    take_at_most(1.0)
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    free_caches()


@pytest.mark.gpu
@pytest.mark.usefixtures("_unlimited")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_s_limit_is_kept_and_what_is_kept_is_given_back() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    take_at_most(0.25)
    limit("cuda:0")
    model = torch.nn.Linear(4096, 4096, device="cuda")
    took("a model", model.parameters())
    room = torch.empty(total // 8, dtype=torch.uint8, device="cuda")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        torch.empty(total // 4, dtype=torch.uint8, device="cuda")
    del room
    (pool,) = pools()
    assert (pool.device, pool.limit_bytes) == ("cuda:0", round(0.25 * total))
    assert pool.models == (("a model", (4096 + 1) * 4096 * 4),)
    assert pool.idle_bytes >= total // 8
    free_caches()
    (pool,) = pools()
    assert pool.idle_bytes < total // 8
    gave_back("a model")
    assert not pools()[0].models
