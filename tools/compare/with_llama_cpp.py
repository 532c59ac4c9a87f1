"""Compare Carnot with llama.cpp on the same GGUF file: logits, or with --speed the speed.

    pip install llama-cpp-python==0.3.36 numpy==2.4.6
    cargo build --release
    python tools/compare/with_llama_cpp.py MODEL.gguf ... [--text models/text/validation.txt] [--context 512] [--chunks 2]
    python tools/compare/with_llama_cpp.py MODEL.gguf ... --speed [--rounds 5] [--threads 2]

Logits are compared as log-probabilities, which a constant added to all of them does not change, after every scored token of the
llama.cpp protocol (the second half of each chunk). Carnot's come from `carnot perplexity --save-logits`. Printed are the largest and the
mean difference, both weighed alike over the whole vocabulary; the largest among tokens of a probability above 0.001; the mean divergence of
Carnot from llama.cpp in nats; how often the likeliest token is the same; and both perplexities.

For speed the two take turns, round by round: a prompt of 512 tokens in one piece, then 128 tokens one by one, each after a warm-up of the
same kind. Carnot is measured by `carnot profile`, with its probe on; llama.cpp with flash attention off and on.
"""
import argparse
import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import llama_cpp
import numpy as np

HEADER = 8 + 3 * 4


def llama(path, **options):
    """A model without the extra buffer types: their AMX kernels stop the process in virtual machines that announce AMX and refuse it."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def without_extra_buffers():
        params = defaults()
        params.use_extra_bufts = False
        return params

    llama_cpp.llama_cpp.llama_model_default_params = without_extra_buffers
    try:
        return llama_cpp.Llama(str(path), verbose=False, **options)
    finally:
        llama_cpp.llama_cpp.llama_model_default_params = defaults


def normalised(logits):
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def scored_by_llama(path, text, options):
    """Log-probabilities after each scored token, and the token that came, chunk by chunk."""
    size = options.context
    model = llama(path, n_ctx=size, n_batch=size, n_threads=options.threads, n_threads_batch=options.threads, logits_all=True)
    tokens = model.tokenize(text, add_bos=True, special=False)
    for start in range(0, len(tokens) // size * size, size)[: options.chunks]:
        chunk = [model.token_bos(), *tokens[start + 1 : start + size]]
        model.reset()
        model.eval(chunk)
        yield normalised(np.array(model.scores[size // 2 : size - 1])), np.array(chunk[size // 2 + 1 :])


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
        for (theirs, tokens), ours in zip(scored_by_llama(path, text, options), carnot, strict=True):
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


def carnot_speed(path, options):
    command = [options.carnot, "profile", path, "--prompt-tokens", options.prompt, "--tokens", options.tokens + 1]
    command += ["--threads", options.threads, "--format", "json", "--emit", "none"]
    result = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    phases = {phase["name"]: phase for phase in json.loads(result.stdout)["phases"]}
    return [phases[name]["tokens_per_s"] for name in ("prefill", "decode")]


class LlamaSpeed:
    def __init__(self, path, options, flash):
        size = options.prompt + options.tokens + 8
        threads = {"n_threads": options.threads, "n_threads_batch": options.threads}
        self.model = llama(path, n_ctx=size, n_batch=options.prompt, n_ubatch=options.prompt, flash_attn=flash, **threads)
        self.options = options
        words = self.model.tokenize(options.text.read_bytes(), add_bos=True, special=False)
        self.prompt = words[: options.prompt]

    def once(self):
        self.model.reset()
        begin = time.perf_counter()
        self.model.eval(self.prompt)
        first = time.perf_counter()
        for token in self.prompt[: self.options.tokens]:
            self.model.eval([token])
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--carnot", type=pathlib.Path, default=pathlib.Path("target/release/carnot"))
    parser.add_argument("--text", type=pathlib.Path, default=pathlib.Path("models/text/validation.txt"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=2)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt, for --speed")
    parser.add_argument("--tokens", type=int, default=128, help="tokens to decode, for --speed")
    options = parser.parse_args()
    print(f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}, {options.threads} threads")
    if options.speed:
        print(f"{'model':22} {'':16} {'prefill tokens/s, median (range)':32}   decode tokens/s")
    else:
        print(
            f"{'model':22} {'rows':>5} {'largest':>9} {'likely':>9} {'mean':>9} {'KL':>10} {'worst KL':>10} {'same top':>9} "
            f"{'carnot ppl':>12} {'llama.cpp':>12}"
        )
    for path in options.models:
        (speed if options.speed else compare)(path, options)


if __name__ == "__main__":
    main()
