"""Spans as `with` makes them, read back from the trace."""

from __future__ import annotations

import threading

import carnot
import pytest
from conftest import within


def test_the_vocabulary_of_a_pipeline(recorded):
    with recorded(unit="frames") as run:
        with carnot.prompt(2, "a fox"):
            with carnot.stage("text_encoding"):
                pass
            with carnot.chunk(1), carnot.block(6, items=3):
                with carnot.step(3, timestep=0.25, guidance_scale=5.0):
                    with carnot.layer("attention", 11, flops=200, bytes=30):
                        pass
    told = [(span["kind"], span["name"], span["index"], span["items"]) for span in run.spans]
    assert told == [
        ("prompt", "prompt", 2, 0),
        ("stage", "text_encoding", None, 0),
        ("chunk", "chunk", 1, 0),
        ("block", "block", 6, 3),
        ("step", "step", 3, 0),
        ("layer", "attention", 11, 0),
    ]
    layer = run.span("attention")
    assert (layer["flops"], layer["bytes"]) == (200, 30)
    assert within(layer, run.span("step")) and within(run.span("step"), run.span("block"))
    assert not within(run.span("text_encoding"), run.span("chunk"))
    values = {counter["name"]: counter["value"] for counter in run.trace["counters"] if "/" not in counter["name"]}
    assert values == {"timestep": 0.25, "guidance_scale": 5.0}
    (note,) = run.trace["notes"]
    assert (note["name"], note["data"]) == ("prompt", {"index": 2, "text": "a fox"})
    run.assert_nested()


def test_a_kept_span_is_entered_again_within_itself(recorded):
    kept = carnot.stage("vae")
    with recorded() as run:
        with kept:
            with kept:
                pass
            with kept:
                pass
    outer, first, second = run.spans
    assert {span["name"] for span in run.spans} == {"vae"}
    assert within(first, outer) and within(second, outer) and first["end_ns"] <= second["start_ns"]


def test_a_name_is_one_object_and_kinds_are_apart(recorded):
    assert carnot.stage("same") is carnot.stage("same")
    assert carnot.stage("sa" + "me".lower()) is not carnot.stage("other")
    with recorded() as run:
        with carnot.stage("both"), carnot.layer("both"):
            pass
    assert [span["kind"] for span in run.spans] == ["stage", "layer"]


def test_names_that_are_made_anew_each_time(recorded):
    """More names than the table by address has places, each made twice, in texts that do not live on."""
    with recorded() as run:
        for _ in range(2):
            for index in range(2000):
                with carnot.stage(f"stage {index}"):
                    pass
    names = run.names()
    assert len(names) == 4000 and names[:2000] == names[2000:] == [f"stage {index}" for index in range(2000)]


def test_what_is_counted_while_it_is_open(recorded):
    with recorded() as run:
        with carnot.stage("decode", items=2) as decode:
            decode.count(3)
            with carnot.stage("inner"):
                decode.count(4)
        decode.count(100)
        with carnot.stage("later"):
            pass
    assert [span["items"] for span in run.spans] == [9, 0, 0]


def test_begin_and_end_without_with(recorded):
    span = carnot.layer("layer", 3)
    with recorded() as run:
        span.begin()
        span.end(flops=7, bytes=9, items=2)
        span.end(flops=1)
    (only,) = run.spans
    assert (only["flops"], only["bytes"], only["items"]) == (7, 9, 2)


def test_an_exception_ends_the_span_and_goes_on(recorded):
    with recorded() as run:
        with pytest.raises(KeyError):
            with carnot.stage("outer"):
                with carnot.stage("failing"):
                    raise KeyError("x")
        with carnot.stage("after"):
            pass
    assert run.names() == ["outer", "failing", "after"]
    assert within(run.span("failing"), run.span("outer")) and not within(run.span("after"), run.span("outer"))


def test_off_nothing_is_recorded(recorded):
    def everything():
        with carnot.stage("off") as off, carnot.block(1, items=2), carnot.step(1):
            off.count(1)
        carnot.frame(1, generate_ms=1.0)
        carnot.drop_frames()
        carnot.allocated("a", 1)
        carnot.cache_hit("c", "k", 1)
        carnot.counter("n", 1)
        carnot.event("e")
        carnot.model("m", parameters=1)

    everything()
    with recorded() as run:
        with carnot.stage("on"):
            pass
    everything()
    trace = run.trace
    assert run.names() == ["on"]
    kinds = ("frames", "memory", "cache", "instants", "notes")
    assert all(trace[kind] == [] for kind in kinds) and trace["session"]["models"] == []
    with recorded() as again:
        pass
    assert again.names() == [] and again.trace["frames"] == []


def test_a_session_that_is_switched_off_records_nothing(tmp_path):
    with carnot.Session("off", output=tmp_path, enabled=False) as session:
        with carnot.stage("x"):
            pass
        carnot.event("e", {"a": 1})
    assert session.trace is None and list(tmp_path.iterdir()) == []


def test_spans_that_a_session_begins_or_ends_within(recorded):
    """What is open when recording begins or ends is not recorded, and does not disturb what is."""
    span = carnot.stage("same")
    with span:
        first = recorded()
        first.session.start()
        with span, carnot.stage("whole"):
            pass
    span.begin()
    with pytest.raises(ValueError):
        with carnot.stage("open when it ends"):
            first.__exit__(None)
            raise ValueError
    with recorded() as second:
        with span:
            pass
    span.end()
    assert first.names() == ["same", "whole"] and second.names() == ["same"]


def test_threads_have_lines_of_their_own_with_their_names(recorded):
    shared = carnot.stage("shared")
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        for _ in range(500):
            with carnot.stage("outer"), shared:
                pass

    with recorded() as run:
        threads = [threading.Thread(target=work, name=f"worker {index}") for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {span["thread_name"] for span in run.spans} == {f"worker {index}" for index in range(4)}
    assert len(run.spans) == 4 * 500 * 2
    run.assert_nested()


def test_a_generator_that_holds_a_span_across_yields(recorded):
    """Its span ends while one of the consumer's, begun within it, goes on: it is put on another line."""

    def chunks():
        with carnot.stage("generator"):
            yield 1

    with recorded() as run:
        with carnot.stage("consumer"):
            generator = chunks()
            next(generator)
            with carnot.stage("crossing"):
                generator.close()
                with carnot.stage("inner"):
                    pass
    lines = run.threads()
    assert lines["generator"].isdisjoint(lines["consumer"]) and lines["crossing"] == lines["inner"] == lines["consumer"]
    run.assert_nested()


def test_what_is_wrong_is_named():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        carnot.stage()
    with pytest.raises(TypeError, match="'int' object"):
        carnot.stage(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'item'"):
        carnot.stage("a", item=3)
    with pytest.raises(OverflowError):
        carnot.block(-1)
    with pytest.raises(ValueError, match="block: expected an index below 4294967295"):
        carnot.block(2**32 - 1)
    assert carnot.stage("a", items=3) is not carnot.stage("a")
    assert carnot.stage(name="a") is carnot.stage("a")
