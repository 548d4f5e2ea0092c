"""A GPU that fills up is told of, once, with what to do; and when it is over."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from media.engines.gpu_pool import GpuPool
from media.engines.memory import free_caches
from server.config import Config
from server.faults import FaultLedger
from server.gpu_memory import GB, MB, ModelNeed, kokoro_need
from server.gpu_watch import GpuWatch
from server.resources import GpuSample, ResourceSample
from server.serving_process import gpu_watch

VOXTRAL = ModelNeed("model", "Voxtral in bf16", 10 * GB, "cuda:0", "set model.load_in_4bit to true")
EMPTY = ResourceSample(0, 0, 1, 1, None, 0, 2, 1, 1, ())


def used(*shares: float) -> ResourceSample:
    gpus = tuple(
        GpuSample(f"cuda:{index}", "a card", 0.5, share * 16_000, 16_000)
        for index, share in enumerate(shares)
    )
    return replace(EMPTY, gpus=gpus)


def test_without_a_gpu_there_is_nothing_to_tell() -> None:
    watch = GpuWatch((), FaultLedger())
    watch.look(EMPTY)
    assert watch.report == {"devices": [], "engines": [], "recommendations": []}


def test_a_gpu_that_fills_up(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLedger(lambda: 0.0)
    watch = GpuWatch((VOXTRAL, kokoro_need("tts", "cuda:1")), faults)
    levels = []
    with caplog.at_level(logging.WARNING):
        for share in (0.5, 0.86, 0.84, 0.96, 0.94, 0.96, 0.9, 0.82):
            watch.look(used(share, 0.3))
            levels.append(watch.report["devices"][0]["level"])
    assert levels == ["ok", "warning", "warning", "critical", "critical", "critical", "warning", "ok"]
    assert [vars(record)["level"] for record in caplog.records] == ["warning", "critical", "warning"]
    assert faults.report["by_kind"] == {"memory": 1}
    assert faults.report["open"] == []
    assert faults.report["recoveries"].keys() == {"tell"}


def test_what_the_engines_do_not_see_is_not_theirs_to_mend() -> None:
    faults = FaultLedger(lambda: 0.0)
    watch = GpuWatch((VOXTRAL,), faults)
    ours, other = used(0.3, 0.99).gpus
    watch.look(replace(EMPTY, gpus=(replace(other, device=None), ours)))
    assert [gpu["share"] for gpu in watch.report["devices"]] == [0.3]
    assert watch.report["recommendations"] == []
    assert faults.report["total"] == 0


def test_one_that_cannot_be_looked_at_any_more_is_full_no_more() -> None:
    faults = FaultLedger(lambda: 0.0)
    watch = GpuWatch((VOXTRAL,), faults)
    watch.look(used(0.99))
    watch.look(EMPTY)
    assert watch.report["devices"] == []
    assert faults.report["open"] == []


def test_what_is_told_of_it() -> None:
    faults = FaultLedger(lambda: 0.0)
    watch = GpuWatch((VOXTRAL, kokoro_need("tts", "cuda:1")), faults)
    watch.look(used(0.96, 0.9))
    report = watch.report
    assert report["devices"][0] == {
        "device": "cuda:0",
        "name": "a card",
        "used_mb": 15_360,
        "total_mb": 16_000,
        "share": 0.96,
        "level": "critical",
        "pool": None,
    }
    assert report["engines"][1] == {
        "section": "tts",
        "what": "Kokoro",
        "device": "cuda:1",
        "needs_mb": 900,
        "on_need": False,
    }
    first, second = report["recommendations"]
    assert first.endswith("set model.load_in_4bit to true.")
    assert second.startswith("cuda:1 is 90% full")
    (open_,) = faults.report["open"]
    assert (open_["engine"], open_["name"], open_["code"]) == ("gpu", "cuda:0", "gpu_memory_critical")
    assert json.loads(json.dumps(report)) == report


def pool(used_mb: int, kept_mb: int, limit_mb: int = 16_000) -> GpuPool:
    return GpuPool("cuda:0", used_mb * MB, kept_mb * MB, limit_mb * MB, (("voxtral (mini)", 9_350 * MB),))


def test_what_the_engines_have_of_it_is_told() -> None:
    watch = GpuWatch((VOXTRAL,), FaultLedger(lambda: 0.0), pools=lambda: [pool(9_800, 11_000)])
    watch.look(used(0.8, 0.1))
    first, second = watch.report["devices"]
    assert first["pool"] == {
        "used_mb": 9_800,
        "kept_mb": 11_000,
        "limit_mb": 16_000,
        "models_mb": {"voxtral (mini)": 9_350},
    }
    assert second["pool"] is None
    assert watch.report["recommendations"] == []
    assert json.loads(json.dumps(watch.report)) == watch.report


def test_what_is_only_kept_is_given_back_when_others_may_lack_it_once() -> None:
    given_back: list[float] = []
    pools = [pool(9_000, 14_000)]
    shares = iter((0.5, 0.9, 0.96, 0.97, 0.9, 0.96))
    watch = GpuWatch(
        (VOXTRAL,), FaultLedger(lambda: 0.0), pools=lambda: pools, give_back=lambda: given_back.append(share)
    )
    for share in shares:
        watch.look(used(share))
        said = watch.report["recommendations"]
        assert any("keeps 5.0 GB of cuda:0 that nothing uses" in sentence for sentence in said) == (
            share > 0.5
        )
    assert given_back == [0.96, 0.96]
    pools[0] = pool(14_000, 15_000)  # nothing much to give
    for share in (0.5, 0.96):
        watch.look(used(share))
    assert given_back == [0.96, 0.96]


def test_engines_that_have_nearly_all_that_they_may_take() -> None:
    pools = [pool(9_300, 9_400, limit_mb=10_000)]
    watch = GpuWatch((VOXTRAL,), FaultLedger(lambda: 0.0), pools=lambda: pools)
    watch.look(used(0.7))
    (said,) = watch.report["recommendations"]
    assert said == (
        "The engines use 9.3 GB of the 10.0 GB that they may take of cuda:0: set "
        "performance.gpu_memory_share to more, or server.max_calls to less."
    )
    pools[0] = pool(9_300, 9_400)  # all of it: then how full it is says enough
    watch.look(used(0.7))
    assert watch.report["recommendations"] == []


def test_engines_in_the_servers_own_process_give_back_too() -> None:
    watch = gpu_watch(Config(), FaultLedger(), None)
    assert watch._give_back is free_caches
