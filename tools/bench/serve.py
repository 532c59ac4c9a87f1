"""Serving side by side: chats that share a beginning, all at once, against `carnot serve`, llama-cpp-python's server and llama-server.

    pip install 'llama-cpp-python[server]==0.3.36'
    cargo build --release
    python tools/bench/serve.py MODEL.gguf [--chats 16] [--shared 4000] [--own 600] [--tokens 64] [--rounds 5] [--llama-server PATH]

Each round starts the servers anew, one after the other and in turns, so that nothing is cached; sends one short request off the clock; then all
chats at once, each with the same beginning and an end of its own (characters of models/text/validation.txt). Counted are output tokens a
second, all together, from the first request to the last token; and the median time to the first token. The ratio is Carnot's tokens a second
over the other's in the same round. Both read the same file with as many threads; temperature 0, no end of text. llama-cpp-python's server
has one sequence at a time and keeps the last one's prefix. llama-server, of the same llama.cpp (it comes with llama-cpp-python's source: `cmake
--build … --target llama-server`), has a slot for each chat, one cache for all slots, and its prompt cache on, as it is by default.
"""
import argparse
import asyncio
import pathlib
import signal
import statistics
import subprocess
import sys
import time

from client import chat, ready

TEXT = pathlib.Path(__file__).parents[2] / "models/text/validation.txt"
CARNOT = pathlib.Path(__file__).parents[2] / "target/release/carnot"


def servers(options):
    threads, context = str(options.threads), str(options.context)
    carnot = [str(CARNOT), "serve", options.model, "--port", "18080", "--threads", threads, "--context", context]
    llama = [
        sys.executable, "-m", "llama_cpp.server", "--model", options.model, "--port", "18081", "--n_threads", threads,
        "--n_threads_batch", threads, "--n_ctx", context, "--interrupt_requests", "False", "--flash_attn", "True",
        "--logits_all", "False",
    ]
    told = {"carnot": (carnot, 18080), "llama-cpp-python": (llama, 18081)}
    if options.llama_server:
        room = str(options.chats * 1536)
        server = [
            options.llama_server, "--model", options.model, "--port", "18082", "--threads", threads, "--threads-batch", threads,
            "--parallel", str(options.chats), "--kv-unified", "--ctx-size", room, "--flash-attn", "on",
        ]
        told["llama-server"] = (server, 18082)
    return {name: told[name] for name in told if name not in options.without}


async def measure(port, prompts, tokens):
    await ready(port)
    begin = time.perf_counter()
    results = await asyncio.gather(*(chat(port, prompt, tokens) for prompt in prompts))
    seconds = time.perf_counter() - begin
    # Events without text are tokens too, so that the number asked for is what counts.
    return len(prompts) * tokens / seconds, statistics.median(times[0] for times in results if times)


def run(command, port, prompts, tokens):
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return asyncio.run(measure(port, prompts, tokens))
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--shared", type=int, default=4000, help="characters")
    parser.add_argument("--own", type=int, default=600, help="characters")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--llama-server", help="the program")
    parser.add_argument("--without", action="append", default=[], choices=["llama-cpp-python", "llama-server"], help="leave one out")
    options = parser.parse_args()
    text = TEXT.read_text()
    shared, rest = text[: options.shared], text[options.shared :]
    prompts = [shared + rest[index * options.own : (index + 1) * options.own] for index in range(options.chats)]
    names = list(servers(options))
    ratios = {name: [] for name in names if name != "carnot"}
    for index in range(options.rounds):
        results = {}
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            command, port = servers(options)[name]
            results[name] = run(command, port, prompts, options.tokens)
        for name, of in ratios.items():
            of.append(results["carnot"][0] / results[name][0])
        told = ", ".join(f"{name} {rate:.1f} tok/s, first token {first:.2f} s" for name, (rate, first) in sorted(results.items()))
        print(f"round {index + 1}: {told}", flush=True)
    for name, of in ratios.items():
        print(f"carnot over {name}: {statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f}) in {len(of)} rounds")


main()
