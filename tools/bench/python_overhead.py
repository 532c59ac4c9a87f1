"""What a session costs a Python loop of 1,000 spans a second: rounds with recording on and off in turns, and the interval of their ratio.

    python tools/bench/python_overhead.py [--rounds 20]

Processor time of the whole process, the recorder's thread and the samplers among it; the wall beside it. Needs the package carnot.
"""

import argparse
import statistics
import tempfile
import time
import zlib

import carnot

DATA = bytes(range(256)) * 256


def work(units: int) -> None:
    """A millisecond or so of work that lets other threads run, in a span; `units` times."""
    for index in range(units):
        with carnot.stage("work"):
            for _ in range(REPEATS):
                zlib.crc32(DATA)


def calibrated() -> int:
    """Repeats of the work that take a millisecond."""
    begun = time.perf_counter()
    for _ in range(2000):
        zlib.crc32(DATA)
    return max(1, round(2000 * 1e-3 / (time.perf_counter() - begun)))


def round_of(is_on: bool, units: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        session = carnot.Session("overhead", output=folder, show=None, enabled=is_on, generate_final_report=False)
        with session:
            # What starting costs is not the loop's.
            wall, cpu = time.perf_counter(), time.process_time()
            work(units)
            return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    global REPEATS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--units", type=int, default=1000)
    arguments = parser.parse_args()
    REPEATS = calibrated()
    round_of(True, 50)
    ratios: dict[str, list[float]] = {"wall": [], "processor": []}
    for index in range(arguments.rounds):
        order = [True, False] if index % 2 == 0 else [False, True]
        taken = {is_on: round_of(is_on, arguments.units) for is_on in order}
        for at, name in enumerate(ratios):
            ratios[name].append(taken[True][at] / taken[False][at])
    for name, values in ratios.items():
        values.sort()
        # The interval of the median by ranks, 95 % of it or more.
        n = len(values)
        out = max(0, int(n / 2 - 0.98 * n**0.5) - 1)
        print(f"{name:10} {100 * (statistics.median(values) - 1):+.2f} % ({100 * (values[out] - 1):+.2f} to {100 * (values[n - 1 - out] - 1):+.2f}), {n} rounds of {arguments.units} spans")


REPEATS = 1

if __name__ == "__main__":
    main()
