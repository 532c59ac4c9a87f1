"""What `carnot serve` promises under load, measured against itself.

    cargo build --release
    python tools/bench/load.py cached MODEL.gguf       # time to first token of a prompt whose prefix is kept, over a cold one's
    python tools/bench/load.py arrival MODEL.gguf      # time between tokens while a long prompt comes in, over the undisturbed one
    python tools/bench/load.py losses MODEL.gguf       # where the engine thread's time goes with 16 streams
    python tools/bench/load.py overload MODEL.gguf     # what gets done at twice the load that can be done
    python tools/bench/load.py soak MODEL.gguf         # memory over many requests, half of whose clients leave

Each starts a server with the flags that it prints, on a port of its own, and ends it. Prompts are pieces of models/text/validation.txt. Times are the
client's, in the same process that asks, so that they have its delays too.
"""
import argparse
import asyncio
import json
import pathlib
import random
import re
import signal
import statistics
import subprocess
import time

from client import Refused, chat, get, ready

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "models/text/validation.txt").read_text()
CARNOT = ROOT / "target/release/carnot"
PORT = 18090


def piece(characters, seed):
    at = random.Random(seed).randrange(len(TEXT) - characters)
    return TEXT[at : at + characters]


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


def middle(values):
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


async def cached(options, _):
    """The shared beginning is characters; how many tokens it has the server tells."""
    ratios = []
    for index in range(options.rounds):
        shared = piece(options.shared, 100 + index)
        cold = (await chat(PORT, shared + piece(80, index), 2))[0]
        await chat(PORT, piece(80, 50), 2)
        warm = (await chat(PORT, shared + piece(80, index + 1000), 2))[0]
        ratios.append(warm / cold)
        tokens = json.loads(await get(PORT, "/stats"))["engines"][0]["recent"]
        print(f"round {index + 1}: cold {cold:.3f} s, cached {warm:.3f} s, ratio {warm / cold:.4f}; {tokens['cached_tokens']} of {tokens['prompt_tokens']} prompt tokens so far were kept", flush=True)
    print(f"cached over cold: {middle(ratios)}")


def gaps(streams, begin=0.0, end=float("inf")):
    """Between the tokens of each stream, of those that came within a time."""
    inside = [[at for at in times if begin <= at <= end] for times in streams]
    return [later - earlier for times in inside for earlier, later in zip(times, times[1:])]


async def arrival(options, _):
    ratios = []
    for index in range(options.rounds):
        begin = time.perf_counter()
        streams = [asyncio.create_task(chat(PORT, piece(200, 10 * index + at), options.tokens)) for at in range(options.streams)]
        await asyncio.sleep(options.quiet)
        start = time.perf_counter() - begin
        first = (await chat(PORT, piece(options.long, 500 + index), 1))[0]
        end = time.perf_counter() - begin
        times = await asyncio.gather(*streams)
        alone, beside = gaps(times, 0.5, start), gaps(times, start, end)
        if min(len(alone), len(beside)) < 20:
            raise SystemExit(f"too few tokens: {len(alone)} before, {len(beside)} beside the prompt; raise --tokens or --quiet")
        ratios.append(quantile(beside, 0.99) / quantile(alone, 0.99))
        print(
            f"round {index + 1}: p99 {1e3 * quantile(alone, 0.99):.1f} ms alone ({len(alone)} gaps), {1e3 * quantile(beside, 0.99):.1f} ms while the prompt comes in"
            f" ({len(beside)} gaps, {first:.1f} s to its first token), ratio {ratios[-1]:.2f}", flush=True,
        )
    print(f"p99 between tokens, beside over alone: {middle(ratios)}")


async def thread_seconds():
    text = await get(PORT, "/metrics")
    found = re.findall(r'carnot_engine_thread_seconds_total{[^}]*activity="(\w+)"} ([\d.e+-]+)', text)
    return {activity: float(seconds) for activity, seconds in found}


async def losses(options, _):
    async def again(at):
        for index in range(options.rounds):
            await chat(PORT, piece(400, 97 * at + index), options.tokens)

    before = await thread_seconds()
    begin = time.perf_counter()
    await asyncio.gather(*(again(at) for at in range(options.streams)))
    wall = time.perf_counter() - begin
    after = await thread_seconds()
    spent = {activity: seconds - before.get(activity, 0) for activity, seconds in after.items()}
    print(f"{options.streams} streams, {wall:.1f} s: " + ", ".join(f"{activity} {100 * seconds / wall:.2f} %" for activity, seconds in spent.items()))
    measured = json.loads(await get(PORT, "/stats"))["engines"][0]["step_time"]
    if measured is None:
        print("the steps themselves were not measured: run `carnot machine` first, and longer (--rounds)")
        return
    print(f"of the steps: floor {100 * measured['efficiency']:.1f} %, " + ", ".join(f"{loss} {100 * share:.2f} %" for loss, share in measured["losses"].items()))
    engine = sum(share for loss, share in measured["losses"].items() if loss.startswith("engine")) * spent.get("step", 0) / wall
    outside = sum(seconds for activity, seconds in spent.items() if activity != "step") / wall
    print(f"engine {100 * engine:.2f} % + transport, queue and idling {100 * outside:.2f} % = {100 * (engine + outside):.2f} % of the wall time")


async def offer(rate, seconds, slo, options, seed):
    """Open loop: requests come when they come, whatever became of those before. One in ten has priority 10."""
    dice, tasks = random.Random(seed), []

    async def one(priority, index):
        try:
            times = await chat(PORT, piece(300, seed * 10_000 + index), options.tokens, priority=priority, stream_interval=16)
            return priority, times[-1]
        except (Refused, OSError, IndexError):
            return priority, None

    begin, at = time.perf_counter(), 0.0
    while at < seconds:
        await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
        tasks.append(asyncio.create_task(one(10 if len(tasks) % 10 == 0 else 5, len(tasks))))
        at += dice.expovariate(rate)
    results = await asyncio.gather(*tasks)
    wall = time.perf_counter() - begin
    good = [latency for _, latency in results if latency is not None and latency <= slo]
    urgent = [latency for priority, latency in results if priority == 10 and latency is not None]
    lost = sum(1 for priority, latency in results if priority == 10 and latency is None)
    return {"offered": rate, "good": len(good) / wall, "answered": sum(latency is not None for _, latency in results), "asked": len(results), "urgent": urgent, "urgent refused": lost}


async def overload(options, _):
    alone = statistics.median([(await chat(PORT, piece(300, seed), options.tokens))[-1] for seed in range(5)])
    begin, count = time.perf_counter(), 64
    pool = asyncio.Semaphore(16)

    async def limited(index):
        async with pool:
            await chat(PORT, piece(300, 7000 + index), options.tokens, stream_interval=16)

    await asyncio.gather(*(limited(index) for index in range(count)))
    capacity = count / (time.perf_counter() - begin)
    slo = options.slo
    print(f"alone a request takes {1e3 * alone:.0f} ms; 16 at once {capacity:.2f} requests/s; good is what ends within {slo:.2f} s", flush=True)
    told = {}
    for share in (0.5, 0.8, 1.0, 2.0):
        result = await offer(share * capacity, options.seconds, slo, options, int(10 * share))
        told[share] = result
        urgent = result["urgent"] or [float("nan")]
        print(
            f"offered {share:.1f} of that, {result['offered']:.2f}/s: {result['good']:.2f} good/s, {result['answered']} of {result['asked']} answered;"
            f" priority 10: p50 {1e3 * statistics.median(urgent):.0f} ms, p95 {1e3 * quantile(urgent, 0.95):.0f} ms, {result['urgent refused']} refused", flush=True,
        )
    best = max(result["good"] for result in told.values())
    print(f"good at twice the load over the best: {told[2.0]['good'] / best:.2f}")
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        print(f"priority 10, {name} at twice the load over {name} at the whole load: {quantile(told[2.0]['urgent'], share) / quantile(told[1.0]['urgent'], share):.2f}")


def anonymous(pid):
    """Bytes of memory that is no file's."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])


async def soak(options, pid):
    dice, gate, left = random.Random(1), asyncio.Semaphore(24), 0

    async def one(index):
        nonlocal left
        async with gate:
            tokens = dice.randrange(1, 24)
            request = asyncio.create_task(chat(PORT, piece(dice.randrange(20, 800), index % 3000), tokens, n=dice.choice([1, 1, 1, 2]), priority=dice.randrange(11)))
            if dice.random() < 0.5:
                left += 1
                _, pending = await asyncio.wait({request}, timeout=dice.random() * 0.2)
                request.cancel()
            try:
                await request
            except (Refused, OSError, asyncio.CancelledError):
                pass

    # Room for keys and values becomes memory when it is first written; so that this is no growth, all of it is first.
    for index in range(200):
        stats = json.loads(await get(PORT, "/stats"))["engines"][0]
        if stats["kv_blocks_free"] == 0:
            break
        await chat(PORT, piece(1200, 50_000 + index), 1)
    print(f"{stats['kv_blocks_free']} of {stats['kv_blocks']} blocks are unwritten: {anonymous(pid) / 2**20:.1f} MiB", flush=True)
    sizes = []
    for part in range(10):
        first = part * options.requests // 10
        await asyncio.gather(*(one(index) for index in range(first, first + options.requests // 10)))
        sizes.append(anonymous(pid))
        print(f"{(part + 1) * options.requests // 10} requests, {left} left early: {sizes[-1] / 2**20:.1f} MiB", flush=True)
    for _ in range(100):
        stats = json.loads(await get(PORT, "/stats"))["engines"][0]
        if stats["in_flight"] == 0:
            break
        await asyncio.sleep(0.1)
    used = stats["kv_blocks"] - stats["kv_blocks_free"] - stats["kv_blocks_cached"]
    print(f"in flight {stats['in_flight']}, blocks in use {used}, accepted {stats['accepted']} = answered {stats['answered']}")
    print(f"memory from the second tenth to the last: {(sizes[-1] - sizes[1]) / 2**20:+.1f} MiB")
    if used or stats["in_flight"] or stats["accepted"] != stats["answered"]:
        raise SystemExit("something was left behind")


WAYS = {"cached": cached, "arrival": arrival, "losses": losses, "overload": overload, "soak": soak}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shared", type=int, default=7000, help="characters of the kept prefix, for `cached`")
    parser.add_argument("--long", type=int, default=14000, help="characters of the long prompt, for `arrival`")
    parser.add_argument("--streams", type=int, default=4, help="for `arrival` and `losses`")
    parser.add_argument("--quiet", type=float, default=10, help="seconds before the long prompt, for `arrival`")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30, help="of each load, for `overload`")
    parser.add_argument("--slo", type=float, default=2, help="seconds that a good request takes at most, for `overload`; the server lets requests wait for half of them")
    parser.add_argument("--requests", type=int, default=10_000, help="for `soak`")
    parser.add_argument("--carnot", default=str(CARNOT))
    parser.add_argument("--flags", default="", help="more flags of `carnot serve`")
    options = parser.parse_args()
    command = [options.carnot, "serve", options.model, "--port", str(PORT), "--log-level", "off", *options.flags.split()]
    if options.way == "overload":
        command += ["--queue-seconds", str(options.slo / 2)]
    print(" ".join(command), flush=True)
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    async def work():
        await ready(PORT)
        await WAYS[options.way](options, server.pid)

    try:
        asyncio.run(work())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


main()
