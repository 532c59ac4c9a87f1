"""Compare Carnot with llama.cpp on the same GGUF file: logits, or with --speed the speed.

    pip install llama-cpp-python==0.3.36 numpy==2.4.6
    cargo build --release
    python tools/compare/with_llama_cpp.py MODEL.gguf ... [--text models/text/validation.txt] [--context 512] [--chunks 2]
    python tools/compare/with_llama_cpp.py MODEL.gguf ... --reference
    python tools/compare/with_llama_cpp.py MODEL.gguf ... --speed [--rounds 5] [--threads 2]

Logits are compared as log-probabilities, which a constant added to all of them does not change, after every scored token of the
llama.cpp protocol (the second half of each chunk). Carnot's come from `carnot perplexity --save-logits`. Printed are the largest and the
mean difference, both weighed alike over the whole vocabulary; the largest among tokens of a probability above 0.001; the mean divergence of
Carnot from llama.cpp in nats; how often the likeliest token is the same; and both perplexities. With --reference, how far each is from
tools/reference/forward.py, which rounds nothing (also needs gguf; slow for large models).

For speed the two take turns, round by round: a prompt of 512 tokens in one piece, then 128 tokens one by one, each after a warm-up of the
same kind. Carnot is measured by `carnot profile`, with its probe on; llama.cpp with flash attention off and on.
"""
import argparse
import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import llama_cpp
import numpy as np

HEADER = 8 + 3 * 4


def llama(path, repack=False, **options):
    """A model; without `repack` it has no extra buffer types, whose AMX kernels stop the process where AMX is announced but refused."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def with_choice():
        params = defaults()
        params.use_extra_bufts = repack
        return params

    llama_cpp.llama_cpp.llama_model_default_params = with_choice
    try:
        return llama_cpp.Llama(str(path), verbose=False, **options)
    finally:
        llama_cpp.llama_cpp.llama_model_default_params = defaults


def normalised(logits):
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def scored_by_llama(path, text, options):
    """Log-probabilities after each scored token, and the tokens of the chunk, chunk by chunk."""
    size = options.context
    model = llama(path, n_ctx=size, n_batch=size, n_threads=options.threads, n_threads_batch=options.threads, logits_all=True)
    tokens = model.tokenize(text, add_bos=True, special=False)
    for start in range(0, len(tokens) // size * size, size)[: options.chunks]:
        chunk = [model.token_bos(), *tokens[start + 1 : start + size]]
        model.reset()
        model.eval(chunk)
        yield normalised(np.array(model.scores[size // 2 : size - 1])), np.array(chunk)


def scored_by_carnot(path, options, out):
    command = [options.carnot, "perplexity", path, options.text, "--context", options.context, "--chunks", options.chunks]
    command += ["--threads", options.threads, "--save-logits", out]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    header = out.read_bytes()[:HEADER]
    assert header[:8] == b"carnotLP", "a file of --save-logits"
    vocabulary = int.from_bytes(header[8:12], "little")
    rows = np.memmap(out, "<f4", mode="r", offset=HEADER).reshape(-1, vocabulary)
    each = options.context - options.context // 2 - 1
    for start in range(0, len(rows), each):
        yield rows[start : start + each].astype(np.float64)


def compare(path, options):
    text = options.text.read_bytes()
    sums = {"positions": 0, "values": 0, "difference": 0.0, "kl": 0.0, "same": 0, "carnot": 0.0, "llama": 0.0}
    largest = likely = worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        carnot = scored_by_carnot(path, options, pathlib.Path(folder) / "logits")
        for (theirs, chunk), ours in zip(scored_by_llama(path, text, options), carnot, strict=True):
            tokens = chunk[options.context // 2 + 1 :]
            difference = np.abs(ours - theirs)
            divergence = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
            largest, worst = max(largest, difference.max()), max(worst, divergence.max())
            likely = max(likely, difference[theirs > np.log(1e-3)].max())
            sums["positions"] += len(tokens)
            sums["values"] += difference.size
            sums["difference"] += difference.sum()
            sums["kl"] += divergence.sum()
            sums["same"] += (ours.argmax(axis=1) == theirs.argmax(axis=1)).sum()
            for name, values in [("carnot", ours), ("llama", theirs)]:
                sums[name] -= values[np.arange(len(tokens)), tokens].sum()
    count = sums["positions"]
    print(
        f"{path.stem:22} {count:5} {largest:9.4f} {likely:9.4f} {sums['difference'] / sums['values']:9.5f} {sums['kl'] / count:10.2e} "
        f"{worst:10.2e} {100 * sums['same'] / count:7.2f} % {np.exp(sums['carnot'] / count):12.4f} {np.exp(sums['llama'] / count):12.4f}",
        flush=True,
    )


def compare_with_reference(path, options):
    sys.path.append(str(pathlib.Path(__file__).parents[1] / "reference"))
    import forward

    model = forward.read(path)
    found = {"carnot": [], "llama.cpp": []}
    with tempfile.TemporaryDirectory() as folder:
        carnot = scored_by_carnot(path, options, pathlib.Path(folder) / "logits")
        for (theirs, chunk), ours in zip(scored_by_llama(path, options.text.read_bytes(), options), carnot, strict=True):
            exact = normalised(model.logits(chunk, slice(options.context // 2, options.context - 1)))
            for name, values in [("carnot", ours), ("llama.cpp", theirs)]:
                found[name].append((np.abs(values - exact), (np.exp(exact) * (exact - values)).sum(axis=1)))
    for name, pairs in found.items():
        difference, divergence = (np.concatenate(part) for part in zip(*pairs))
        print(f"{path.stem:22} {name:10} {difference.max():9.4f} {difference.mean():9.5f} {divergence.mean():10.2e}", flush=True)


def carnot_speed(path, options):
    command = [options.carnot, "profile", path, "--prompt-tokens", options.prompt, "--tokens", options.tokens + 1]
    command += ["--threads", options.threads, "--format", "json", "--emit", "none"]
    result = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    phases = {phase["name"]: phase for phase in json.loads(result.stdout)["phases"]}
    return [phases[name]["tokens_per_s"] for name in ("prefill", "decode")]


class LlamaSpeed:
    """llama.cpp through its C interface: the Python class copies all logits after every call, which is not the engine's cost."""

    def __init__(self, path, options, flash):
        size = options.prompt + options.tokens + 8
        threads = {"n_threads": options.threads, "n_threads_batch": options.threads}
        self.model = llama(
            path, options.repack, n_ctx=size, n_batch=options.prompt, n_ubatch=options.prompt, flash_attn=flash, logits_all=False, **threads
        )
        self.options = options
        words = self.model.tokenize(options.text.read_bytes(), add_bos=True, special=False)
        self.prompt = words[: options.prompt]

    def decode(self, tokens):
        values = (llama_cpp.llama_token * len(tokens))(*tokens)
        status = llama_cpp.llama_decode(self.model.ctx, llama_cpp.llama_batch_get_one(values, len(tokens)))
        assert status == 0, f"llama_decode returned {status}"
        llama_cpp.llama_synchronize(self.model.ctx)

    def once(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.model.ctx), True)
        begin = time.perf_counter()
        self.decode(self.prompt)
        first = time.perf_counter()
        for token in self.prompt[: self.options.tokens]:
            self.decode([token])
        end = time.perf_counter()
        return [self.options.prompt / (first - begin), self.options.tokens / (end - first)]

    def __call__(self):
        self.once()
        return self.once()


def speed(path, options):
    runners = {"carnot": lambda: carnot_speed(path, options)}
    for name, flash in [("llama.cpp", False), ("llama.cpp flash", True)]:
        runners[name] = LlamaSpeed(path, options, flash)
    rounds = {name: [] for name in runners}
    for _ in range(options.rounds):
        for name, run in runners.items():
            rounds[name].append(run())
    for name, rates in rounds.items():
        prefill, decode = zip(*rates)
        cells = (f"{statistics.median(values):9.1f} ({min(values):.1f} to {max(values):.1f})" for values in (prefill, decode))
        print(f"{path.stem:22} {name:16} " + "   ".join(f"{cell:32}" for cell in cells), flush=True)
    print(f"{path.stem:22} {'ratio':16} " + "   ".join(f"{ratio(rounds, phase):32}" for phase in (0, 1)), flush=True)


def ratio(rounds, phase):
    """Carnot over the better of llama.cpp's two modes, round by round."""
    peers = [rates for name, rates in rounds.items() if name != "carnot"]
    ratios = [own[phase] / max(peer[phase] for peer in turn) for own, *turn in zip(rounds["carnot"], *peers)]
    return f"{statistics.median(ratios):9.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--carnot", type=pathlib.Path, default=pathlib.Path("target/release/carnot"))
    parser.add_argument("--text", type=pathlib.Path, default=pathlib.Path("models/text/validation.txt"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=2)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repack", action="store_true", help="let llama.cpp repack weights; needs a build without AMX where AMX traps")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt, for --speed")
    parser.add_argument("--tokens", type=int, default=128, help="tokens to decode, for --speed")
    options = parser.parse_args()
    print(f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}, {options.threads} threads")
    if options.speed:
        print(f"{'model':22} {'':16} {'prefill tokens/s, median (range)':32}   decode tokens/s")
    elif options.reference:
        print(f"{'model':22} {'from exact':10} {'largest':>9} {'mean':>9} {'KL':>10}")
    else:
        print(
            f"{'model':22} {'rows':>5} {'largest':>9} {'likely':>9} {'mean':>9} {'KL':>10} {'worst KL':>10} {'same top':>9} "
            f"{'carnot ppl':>12} {'llama.cpp':>12}"
        )
    mode = speed if options.speed else compare_with_reference if options.reference else compare
    for path in options.models:
        mode(path, options)


if __name__ == "__main__":
    main()
