"""Spans of asyncio's tasks: held across `await`, ended in any order, on lanes that are used again."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import carnot
from conftest import within


async def in_turns(order, events):
    """Sets the events in this order, each after the one before was waited for."""
    for name in order:
        events[name].set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_tasks_that_end_out_of_order_have_lanes(recorded):
    """The second task begins within the first one's span and ends after it."""

    async def main():
        events = {name: asyncio.Event() for name in ("a", "b")}

        async def request(name):
            with carnot.stage(f"request {name}"):
                with carnot.stage(f"before {name}"):
                    await asyncio.sleep(0)
                await events[name].wait()
                with carnot.stage(f"after {name}"):
                    await asyncio.sleep(0)

        with carnot.stage("all"):
            tasks = [asyncio.create_task(request(name)) for name in ("a", "b")]
            await asyncio.sleep(0)
            await in_turns(("a", "b"), events)
            await asyncio.gather(*tasks)

    with recorded() as run:
        with carnot.stage("outside"):
            asyncio.run(main())
        with carnot.stage("afterwards"):
            pass
    run.assert_nested()
    for name in ("a", "b"):
        request = run.span(f"request {name}")
        assert within(run.span(f"before {name}"), request) and within(run.span(f"after {name}"), request)
    first, second = run.span("request a"), run.span("request b")
    assert first["start_ns"] < second["start_ns"] < first["end_ns"] < second["end_ns"], "they did cross"
    assert len({run.span(name)["thread"] for name in ("request a", "request b", "all", "outside")}) == 4
    assert run.span("afterwards")["thread"] == run.span("outside")["thread"]


def test_lanes_are_as_many_as_tasks_have_spans_open_at_once(recorded):
    async def main():
        places = asyncio.Semaphore(3)

        async def request(index):
            async with places:
                with carnot.stage("request"), carnot.stage("part"):
                    for _ in range(index % 4):
                        await asyncio.sleep(0)

        await asyncio.gather(*(request(index) for index in range(60)))

    with recorded() as run:
        asyncio.run(main())
    assert run.names().count("request") == 60
    assert len(run.threads()["request"]) == 3 and run.threads()["part"] == run.threads()["request"]
    run.assert_nested()


def test_a_child_task_does_not_lie_on_its_parents_lane(recorded):
    async def main():
        async def child():
            with carnot.stage("child"):
                await asyncio.sleep(0)

        with carnot.stage("parent"):
            context = contextvars.copy_context()
            await asyncio.gather(child(), asyncio.create_task(child(), name="named"))
            assert context is not None

    with recorded() as run:
        asyncio.run(main())
    lines = run.threads()
    assert lines["parent"].isdisjoint(lines["child"]) and len(lines["child"]) == 2


def test_callbacks_of_the_loop_lie_on_the_thread(recorded):
    async def main():
        done = asyncio.Event()

        def callback():
            with carnot.stage("callback"):
                pass
            done.set()

        with carnot.stage("task"):
            asyncio.get_running_loop().call_soon(callback)
            await done.wait()

    with recorded() as run:
        asyncio.run(main())
    assert run.span("callback")["thread_name"] == "MainThread"
    assert run.threads()["callback"].isdisjoint(run.threads()["task"])


def test_cancelled_and_lost_tasks_end_their_spans(recorded):
    async def main():
        async def hang():
            with carnot.stage("hanging"):
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        lost = hang()
        lost.send(None)
        del lost
        gc.collect()
        with carnot.stage("next"):
            pass

    with recorded() as run:
        asyncio.run(main())
    assert run.names() == ["hanging", "hanging", "next"]
    run.assert_nested()


def test_loops_of_several_threads(recorded):
    async def main():
        async def request():
            with carnot.stage("request"):
                await asyncio.sleep(0)
                with carnot.stage("part"):
                    await asyncio.sleep(0)

        await asyncio.gather(*(request() for _ in range(20)))

    with recorded() as run:
        threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert run.names().count("part") == 60
    run.assert_nested()


def test_a_kept_span_in_many_tasks_at_once(recorded):
    kept = carnot.stage("kept")

    async def main():
        async def request(index):
            with kept as open_now:
                for _ in range(index):
                    await asyncio.sleep(0)
                open_now.count(index)

        await asyncio.gather(*(request(index) for index in (5, 1, 3)))

    with recorded() as run:
        asyncio.run(main())
    assert sorted(span["items"] for span in run.spans) == [1, 3, 5]
    run.assert_nested()
