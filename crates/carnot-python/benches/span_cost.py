"""What a span costs, recording on and off, beside what others cost: medians of batches that take turns, so that a busy machine is in all of them.

    python benches/span_cost.py [--rounds N] [--batch N] [--json]

Where PyTorch is installed, `torch.profiler.record_function` is timed under an active profiler. Every figure is nanoseconds for one pass of the loop's body, the
empty loop taken off; "on" is with a session that writes its trace.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import carnot

Loop = Callable[[int], float]


class Nothing:
    """The least that `with` can be given from Python."""

    __slots__ = ()

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def loop(body: str, **names: object) -> Loop:
    """A function that runs `body` so often, and returns its seconds."""
    source = f"def timed(count):\n    begin = clock()\n    for _ in range(count):\n        {body}\n    return clock() - begin\n"
    scope: dict[str, object] = {"clock": time.perf_counter, "carnot": carnot, **names}
    exec(source, scope)
    timed: Loop = scope["timed"]  # type: ignore[assignment]
    return timed


def in_task(timed: Loop) -> Loop:
    """The same in a task of asyncio."""

    async def run(count: int) -> float:
        return timed(count)

    return lambda count: asyncio.run(run(count))


LITERAL = 'with carnot.stage("vae_decode"): pass'
KEPT = "with kept: pass"


def rounds(loops: dict[str, Loop], count: int, batch: int) -> dict[str, list[float]]:
    """Nanoseconds of a pass, for each loop, once in each round."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for timed in loops.values():
        timed(batch)
    for _ in range(count):
        for name, timed in loops.items():
            times[name].append(timed(batch) / batch * 1e9)
    return times


def off(count: int, batch: int) -> dict[str, list[float]]:
    kept = carnot.stage("kept")
    loops = {
        "empty loop": loop("pass"),
        "`with` of an empty Python class": loop("with nothing: pass", nothing=Nothing()),
        "`with` of a threading.Lock": loop("with lock: pass", lock=threading.Lock()),
        "off: stage by name": loop(LITERAL),
        "off: kept stage": loop(KEPT, kept=kept),
    }
    return rounds(loops, count, batch)


def on(count: int, batch: int) -> dict[str, list[float]]:
    kept = carnot.stage("kept")
    loops = {
        "empty loop (on)": loop("pass"),
        "on: stage by name": loop(LITERAL),
        "on: kept stage": loop(KEPT, kept=kept),
        "on: step": loop("with carnot.step(3): pass"),
        "on: block of items": loop("with carnot.block(3, items=3): pass"),
        "on: stage in a task": in_task(loop(LITERAL)),
        "on: counter": loop('carnot.counter("queue", 3.0)'),
    }
    with tempfile.TemporaryDirectory() as folder, carnot.Session("span_cost", output=folder, show=None):
        return rounds(loops, count, batch)


def torch_profiler(count: int, batch: int) -> dict[str, list[float]]:
    import torch.profiler

    loops = {
        "empty loop (profiler)": loop("pass"),
        "torch.profiler.record_function": loop('with record("vae_decode"): pass', record=torch.profiler.record_function),
    }
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        return rounds(loops, count, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    gc.disable()
    medians: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}

    def take(times: dict[str, list[float]]) -> None:
        empty = statistics.median(next(iter(times.values())))
        for name, values in list(times.items())[1:]:
            tenths = statistics.quantiles(values, n=10)
            medians[name] = statistics.median(values) - empty
            spread[name] = (min(values) - empty, tenths[-1] - empty)

    take(off(arguments.rounds, arguments.batch))
    take(on(arguments.rounds, arguments.batch))
    try:
        take(torch_profiler(min(arguments.rounds, 30), arguments.batch))
    except ImportError:
        print("PyTorch is not installed: record_function is not timed", file=sys.stderr)
    machine = f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}, {platform.machine()}"
    if arguments.json:
        print(json.dumps({"machine": machine, "median_ns": medians, "least_and_ninetieth_ns": spread}, indent=1))
        return
    print(machine)
    print(f"{'ns for each span':34} {'median':>8} {'least':>8} {'p90':>8}")
    for name, median in medians.items():
        print(f"{name:34} {median:8.0f} {spread[name][0]:8.0f} {spread[name][1]:8.0f}")
    theirs = medians.get("torch.profiler.record_function")
    if theirs is not None:
        print(f"record_function costs {theirs / medians['on: stage by name']:.1f} × a stage by name")


if __name__ == "__main__":
    main()
