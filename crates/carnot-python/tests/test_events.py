"""Frames, memory, caches and counters, read back from the trace."""

from __future__ import annotations

import carnot
import pytest


def test_frames_keep_all_that_is_said_of_them(recorded):
    with recorded(unit="frames") as run:
        carnot.frame(7, generate_ms=12.5, encode_ms=0.25, send_ms=1.5, bytes=4096, occupancy=2, count=3, prompt=1)
        carnot.frame(10)
        carnot.drop_frames(4)
        carnot.drop_frames(stream="preview")
    full, bare, dropped, other = run.trace["frames"]
    del full["time_ns"]
    assert full == {
        "name": "video",
        "index": 7,
        "count": 3,
        "dropped": 0,
        "generate_ns": 12_500_000,
        "encode_ns": 250_000,
        "send_ns": 1_500_000,
        "bytes": 4096,
        "occupancy": 2,
        "prompt": 1,
    }
    assert (bare["count"], bare["occupancy"], bare["prompt"]) == (1, None, None)
    assert (dropped["dropped"], dropped["count"], other["dropped"], other["name"]) == (4, 0, 1, "preview")
    assert carnot.summary() is None


def test_memory_is_taken_and_given_back(recorded):
    with recorded() as run:
        carnot.allocated("torch", 1 << 20, id=77)
        carnot.released("torch", 1 << 20, id=77)
        carnot.allocated("arena", 5)
    told = [(event["name"], event["bytes"], event["id"]) for event in run.trace["memory"]]
    assert told == [("torch", 1 << 20, 77), ("torch", -(1 << 20), 77), ("arena", 5, None)]


def test_caches_keep_the_key_as_a_hash(recorded):
    with recorded() as run:
        carnot.cache_miss("bank", ("a", 1), 100)
        carnot.cache_hit("bank", ("a", 1), 100)
        carnot.cache_hit("bank", "other")
        carnot.cache_evict("bank")
    events = run.trace["cache"]
    assert [(event["outcome"], event["bytes"]) for event in events] == [("miss", 100), ("hit", 100), ("hit", 0), ("evict", 0)]
    first, second, third, fourth = (event["key"] for event in events)
    assert first == second != third and fourth is None


def test_counters_keep_their_values(recorded):
    with recorded() as run:
        carnot.counter("queue", 3)
        carnot.counter("queue", 2.5)
    assert [event["value"] for event in run.trace["counters"] if event["name"] == "queue"] == [3.0, 2.5]


def test_waiting_is_a_kind_of_its_own_and_moments_have_a_name(recorded):
    with recorded() as run:
        with carnot.wait("barrier"):
            pass
        carnot.instant("anchor/barrier 0")
    assert run.span("barrier")["kind"] == "wait"
    assert [moment["name"] for moment in run.trace["instants"]] == ["anchor/barrier 0"]


def test_what_is_wrong_is_named(recorded):
    with recorded():
        with pytest.raises(ValueError, match="encode_ms: expected milliseconds, 0 or more, got -1"):
            carnot.frame(0, encode_ms=-1)
        with pytest.raises(ValueError, match="generate_ms: expected milliseconds, 0 or more, got NaN"):
            carnot.frame(0, generate_ms=float("nan"))
        with pytest.raises(ValueError, match="count: expected 1 or more frames, got 0"):
            carnot.frame(0, count=0)
        with pytest.raises(OverflowError):
            carnot.allocated("torch", -1)
        with pytest.raises(TypeError, match="unhashable"):
            carnot.cache_hit("bank", ["a"])
