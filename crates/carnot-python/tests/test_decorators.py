"""Decorators, on every kind of function."""

from __future__ import annotations

import asyncio
import inspect

import carnot
import pytest
from conftest import within


def told(run):
    return [(span["kind"], span["name"], span["index"], span["items"]) for span in run.spans]


def test_functions_are_stages_named_as_they_are(recorded):
    @carnot.profile
    def encode(a, /, b, *, c=3):
        """Encodes."""
        return a + b + c

    @carnot.profile("decoding", items=4)
    def decode():
        return encode(1, b=2)

    @carnot.stage("as a decorator")
    def other():
        return 5

    class Model:
        @carnot.profile
        def forward(self):
            return 7

        @staticmethod
        @carnot.profile()
        def still():
            return 8

    assert (encode.__name__, encode.__doc__, list(inspect.signature(encode).parameters)) == ("encode", "Encodes.", ["a", "b", "c"])
    assert encode(1, 1) == 5, "off it works all the same"
    with recorded() as run:
        assert (decode(), other(), Model().forward(), Model.still()) == (6, 5, 7, 8)
    names = [name for _, name, _, _ in told(run)]
    assert names == ["decoding", "encode", "as a decorator", "Model.forward", "Model.still"]
    assert told(run)[0] == ("stage", "decoding", None, 4) and within(run.spans[1], run.spans[0])


def test_coroutine_functions(recorded):
    @carnot.profile
    async def fetch(name):
        await asyncio.sleep(0)
        return name

    async def main():
        return await asyncio.gather(fetch("a"), fetch("b"))

    assert inspect.iscoroutinefunction(fetch)
    with recorded() as run:
        assert asyncio.run(main()) == ["a", "b"]
    assert run.names() == ["fetch", "fetch"] and len(run.threads()["fetch"]) == 2


def test_of_a_generator_each_step_is_a_span(recorded):
    @carnot.profile
    def numbers():
        got = yield 1
        try:
            yield got
        except ValueError:
            yield "caught"
        return "end"

    with recorded() as run:
        generator = numbers()
        assert next(generator) == 1
        with carnot.stage("consumer"):
            pass
        assert generator.send("sent") == "sent"
        assert generator.throw(ValueError) == "caught"
        with pytest.raises(StopIteration, match="end"):
            next(generator)
    assert run.names() == ["numbers", "consumer", "numbers", "numbers", "numbers"]
    assert not any(within(run.span("consumer"), span) for span in run.spans if span["name"] == "numbers")
    closed = []

    @carnot.profile
    def closing():
        try:
            yield 1
        finally:
            closed.append(True)

    generator = closing()
    next(generator)
    generator.close()
    assert closed == [True]


def test_of_an_asynchronous_generator_too(recorded):
    @carnot.profile
    async def numbers():
        got = yield 1
        await asyncio.sleep(0)
        try:
            yield got
        except ValueError:
            yield "caught"

    async def main():
        generator = numbers()
        seen = [await generator.__anext__(), await generator.asend("sent"), await generator.athrow(ValueError())]
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()
        return seen

    with recorded() as run:
        assert asyncio.run(main()) == [1, "sent", "caught"]
    assert run.names() == ["numbers"] * 4


def test_layers_blocks_and_steps(recorded):
    @carnot.profile_layer(index=2, parameters=10, flops=100, bytes=20)
    def attention():
        pass

    @carnot.profile_layer
    def bare():
        pass

    @carnot.profile_block(index="number", items=3)
    def make_block(prompt, number=9):
        bare()

    @carnot.profile_step
    def denoise():
        pass

    with recorded() as run:
        attention(), attention(), make_block("p", 4), make_block("p", number=5), make_block("p"), denoise(), denoise()
    assert [entry for entry in told(run) if entry[1] != "bare"] == [
        ("layer", "attention", 2, 0),
        ("layer", "attention", 2, 0),
        ("block", "block", 4, 3),
        ("block", "block", 5, 3),
        ("block", "block", 9, 3),
        ("step", "step", 0, 0),
        ("step", "step", 1, 0),
    ]
    assert (run.spans[0]["flops"], run.spans[0]["bytes"]) == (100, 20)
    assert run.trace["session"]["models"] == [{"name": "attention", "kind": "layer", "parameters": 10}]
    with recorded() as again:
        denoise()
    assert told(again) == [("step", "step", 0, 0)], "each session counts from 0"
    with pytest.raises(TypeError, match=r"index: expected a parameter of .*f \(a\), got 'b'"):

        @carnot.profile_block(index="b")
        def f(a):
            pass


def test_what_a_generator_yields_are_frames(recorded):
    @carnot.profile_streaming
    def video():
        for size in (10, 20):
            with carnot.stage("making"):
                pass
            yield bytes(size)

    @carnot.profile_streaming("encoder", stream="preview", measures="encode", count=len, size=sum)
    def encode(sizes):
        return sizes

    @carnot.profile_streaming
    async def live():
        yield b"abc"

    async def watch():
        return [frame async for frame in live()]

    assert len(list(video())) == 2, "off it works all the same"
    with recorded(unit="frames") as run:
        assert [len(frame) for frame in video()] == [10, 20]
        assert encode([5, 6, 7]) == [5, 6, 7] and encode([1]) == [1] and encode([]) == []
        assert asyncio.run(watch()) == [b"abc"]
    frames = run.trace["frames"]
    told = [(frame["name"], frame["index"], frame["count"], frame["bytes"]) for frame in frames]
    assert told == [("video", 0, 1, 10), ("video", 1, 1, 20), ("preview", 0, 3, 18), ("preview", 3, 1, 1), ("video", 0, 1, 3)]
    made = [span for span in run.spans if span["name"] == "making"]
    for frame, span in zip(frames[:2], made):
        assert frame["generate_ns"] >= span["end_ns"] - span["start_ns"] and frame["encode_ns"] == 0
    assert frames[2]["encode_ns"] > 0 and frames[2]["generate_ns"] == 0
    with pytest.raises(ValueError, match="measures: expected one of generate, encode, send, got 'sending'"):
        carnot.profile_streaming(measures="sending")


def test_a_function_that_is_a_session(tmp_path):
    sessions = []

    @carnot.profile_session(output=tmp_path, show=None, unit="frames")
    def run(fail):
        sessions.append(carnot.session())
        with carnot.stage("inside"):
            if fail:
                raise LookupError("x")
        return 3

    assert run(False) == 3
    with pytest.raises(LookupError):
        run(True)
    traces = [carnot.read_trace(session.trace) for session in sessions]
    assert [trace["session"]["outcome"] for trace in traces] == ["completed", {"failed": "LookupError"}]
    assert all(trace["session"]["id"] == "run" and len(trace["spans"]) == 1 for trace in traces)

    @carnot.profile_session("named", output=tmp_path, show=None)
    async def later():
        await asyncio.sleep(0)
        sessions.append(carnot.session())

    asyncio.run(later())
    assert sessions[-1].id == "named"
    with pytest.raises(TypeError, match="generator function"):

        @carnot.profile_session
        def generator():
            yield
