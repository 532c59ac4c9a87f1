"""Whether `carnot compare` finds a regression that was planted, and names the right loss; and how often it finds one where there is none.

    cargo build --release -p carnot-cli --features carnot-llm/faults
    python tools/bench/planted.py target/release/carnot --trials 20 --same 20

A binary with the feature `faults` can be made slower by the variable FAILPOINTS: a kernel that computes for nothing, a lock that somebody holds, memory that is taken
and written for nothing. How much of it is 5 % is measured first. Then each trial is one comparison of the binary with itself, one of the two slower.
"""
import argparse
import json
import os
import statistics
import subprocess

# Place, and the loss that has to grow most.
PLANTED = {"slow kernel": "kernel/rms_norm", "slow lock": "engine/other", "slow allocation": "engine/sampling"}
BENCH = "bench inference --prompt-tokens 64 -n 48 --iterations 10 --warmup 3 --threads 1 --format json"


def command(carnot, place=None, amount=0):
    arm = f"FAILPOINTS='{place}=return({amount})' " if place else ""
    return f"{arm}{carnot} {BENCH}"


def request(carnot, place=None, amount=0):
    """The median time of a request, in seconds."""
    told = subprocess.run(command(carnot, place, amount), shell=True, check=True, capture_output=True).stdout
    return statistics.median(next(metric["values"] for metric in json.loads(told)["metrics"] if metric["name"] == "request"))


def amount_for(carnot, place, change):
    """How much of it slows a request by so many percent: a tenth of what makes it ten times that, so that noise does not count."""
    amount = 16
    while True:
        grown = 100 * (statistics.median(request(carnot, place, amount) / request(carnot) for _ in range(5)) - 1)
        if grown > 10 * change:
            return max(1, round(amount * change / grown))
        amount *= 2


def compared(carnot, place=None, amount=0):
    # The same in both but for what is planted: an empty FAILPOINTS arms nothing.
    line = [carnot, "compare", "--a", command(carnot), "--b", command(carnot, place, amount), "--format", "json"]
    done = subprocess.run(line, capture_output=True, text=True)
    told = json.loads(done.stdout)
    certain = [loss for loss in told["losses"] if loss["share_of_a"]["low"] > 0]
    grown = max(certain, key=lambda loss: loss["share_of_a"]["estimate"], default={"name": None})
    first = told["measures"][0]
    return done.returncode, first["change"]["estimate"], len(first["pairs"]), told["certain_loss"] or grown["name"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--same", type=int, default=20, help="comparisons of what is the same")
    parser.add_argument("--change", type=float, default=5, help="percent")
    options = parser.parse_args()
    os.environ.pop("FAILPOINTS", None)
    for place, loss in PLANTED.items():
        amount = amount_for(options.carnot, place, options.change)
        results = []
        for _ in range(options.trials):
            results.append(compared(options.carnot, place, amount))
            print(place, amount, results[-1], flush=True)
        found = sum(code == 1 for code, *_ in results)
        named = sum(code == 1 and name == loss for code, _, _, name in results)
        change = statistics.median(change for _, change, _, _ in results)
        print(f"{place}: found {found} of {len(results)}, {loss} named {named}; median change {100 * change:+.1f} %", flush=True)
    results = [compared(options.carnot) for _ in range(options.same)]
    print(f"the same: {sum(code == 1 for code, *_ in results)} of {len(results)} alarms; codes {[code for code, *_ in results]}")


main()
