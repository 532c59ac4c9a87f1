"""Memory: what tracemalloc, torch and the system say, now and in a session."""

from __future__ import annotations

import sys
import time
import tracemalloc
import types
from collections.abc import Iterator

import carnot
import pytest
from carnot import memory


@pytest.fixture(autouse=True)
def not_traced() -> Iterator[None]:
    """Each test finds tracing off, and leaves it so."""
    tracemalloc.stop()
    yield
    tracemalloc.stop()


def keeps(kept: list[bytes | None]) -> None:
    """Fills a list that is there already, so that nothing else is taken at the line: each piece is one."""
    for at in range(len(kept)):
        kept[at] = bytes(100_000)


KEEPS = keeps.__code__.co_firstlineno + 3
PIECE = sys.getsizeof(bytes(100_000))


def test_the_resident_set_grows_with_what_is_touched():
    before = memory.resident_bytes()
    if before is None:
        pytest.skip("the system does not say")
    kept = bytearray(b"\1") * (64 << 20)
    after = memory.resident_bytes()
    assert after is not None and after - before >= 60 << 20
    del kept


def line_of_keeps() -> list[memory.Line]:
    return [line for line in memory.lines(1000) if line.line == KEEPS and line.file == __file__]


def test_a_line_holds_what_python_says_its_objects_take():
    kept: list[bytes | None] = [None] * 10
    tracemalloc.start()
    keeps(kept)
    (line,) = line_of_keeps()
    assert (line.bytes, line.count, line.text) == (10 * PIECE, 10, "kept[at] = bytes(100_000)")
    traced = memory.traced()
    assert traced is not None and traced.peak_bytes >= traced.bytes >= line.bytes and traced.own_bytes > 0
    assert memory.lines(1)[0] == line, "who holds most stands first"
    kept.clear()
    assert line_of_keeps() == []


def test_what_is_not_known_is_said_and_not_zero(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    told = memory.now()
    assert told.python is None and memory.lines() == [] and memory.traced() is None and told.torch == ()
    assert [note.split(":")[0] for note in told.notes] == ["tracemalloc is off"]
    cuda = types.SimpleNamespace(is_available=lambda: False, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert memory.now().notes[1] == memory._TORCH_ON_CPU


def torch_with(statistics: dict[str, int]) -> types.SimpleNamespace:
    """A torch with two devices, of which the process uses the first."""
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        device_count=lambda: 2,
        memory_stats=lambda index: statistics if index == 0 else {},
    )
    return types.SimpleNamespace(cuda=cuda)


def test_torchs_allocator_is_a_pool(recorded, monkeypatch):
    statistics = {
        "allocated_bytes.all.current": 75,
        "allocated_bytes.all.peak": 90,
        "reserved_bytes.all.current": 100,
        "reserved_bytes.all.peak": 120,
        "num_alloc_retries": 2,
    }
    monkeypatch.setitem(sys.modules, "torch", torch_with(statistics))
    device = memory.Device("cuda:0", 75, 90, 100, 120, 2)
    assert memory.torch_devices() == [device]
    with recorded() as run:
        told = memory.record()
    assert told.torch == (device,)
    values = {event["name"]: event["value"] for event in run.trace["counters"]}
    assert (values["torch/cuda:0/allocated_bytes"], values["torch/cuda:0/reserved_bytes"]) == (75, 100)
    assert "torch/cuda:0" in run.session.report and "25.0 %" in run.session.report


def test_places_are_in_the_trace_to_the_byte(recorded):
    kept: list[bytes | None] = [None] * 10
    with recorded(trace_python_memory=True, cpu_monitor_interval=60) as run:
        assert tracemalloc.is_tracing()
        keeps(kept)
        memory.record()
        del kept[4:]
        memory.record()
        kept.clear()
    assert not tracemalloc.is_tracing(), "who turned it on turns it off"
    events = [event for event in run.trace["allocations"] if event["name"] == "kept[at] = bytes(100_000)"]
    assert [(event["bytes"], event["count"]) for event in events] == [(10 * PIECE, 10), (-6 * PIECE, 0), (-4 * PIECE, 0)]
    assert all(event["line"] == KEEPS and event["file"].endswith("test_memory.py") and event["mean_bytes"] == 0 for event in events)
    assert "Who allocates" in run.session.report and "kept[at] = bytes" in run.session.report
    names = {event["name"] for event in run.trace["counters"]}
    assert {"python/traced_bytes", "python/traced_peak_bytes", "python/tracing_bytes", "process/resident_bytes"} <= names
    (note,) = [note for note in run.trace["notes"] if note["name"] == "memory"]
    assert isinstance(note["data"]["notes"], list)


def test_it_is_looked_at_over_time(recorded):
    with recorded(trace_python_memory=True, cpu_monitor_interval=0.05) as run:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            status = carnot.summary()
            if status is not None and "python/traced_bytes" in status["counters"]:
                break
            time.sleep(0.02)
    values = [event["value"] for event in run.trace["counters"] if event["name"] == "python/traced_bytes"]
    assert len(values) >= 2 and all(value > 0 for value in values)


def test_tracing_of_somebody_elses_goes_on(recorded):
    tracemalloc.start()
    with recorded(trace_python_memory=True):
        pass
    assert tracemalloc.is_tracing()


def test_without_a_session_nothing_is_recorded():
    tracemalloc.start()
    assert memory.record().python is not None
