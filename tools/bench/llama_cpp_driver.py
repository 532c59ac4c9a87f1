"""llama.cpp as `cargo xtask bench` drives it: a line of work in, a line of times out (benchmarks/METHODOLOGY.md).

    python tools/bench/llama_cpp_driver.py MODEL.gguf [--threads 2] [--flash-attention] [--unified]
    python tools/bench/llama_cpp_driver.py MODEL.gguf --first-token 8 [--context 512]
    python tools/bench/llama_cpp_driver.py --version

Work is a JSON object on one line of standard input, for example

    {"phase": "decode", "tokens": 32, "depth": 4096, "sequences": 1, "warmup": 4, "repeat": 1}

and each line is answered by one line on standard output. The first line of output says what was loaded. With --first-token there is
no work: the model is loaded, a prompt of that many tokens evaluated, and one line tells how long that took from the start of `main`,
which leaves out the interpreter's own start and its imports.

Only the C interface is used, with batches that are laid out before the clock starts, so that Python has one call for each pass.
The counterpart is crates/carnot-llm/examples/bench_driver.rs; both feed the same tokens.
"""
import argparse
import ctypes
import importlib.metadata
import json
import sys
import time

import llama_cpp
import numpy as np

PACKAGE = "llama-cpp-python"
CHUNK = 512
# The context of a work is rounded up to this, as llama.cpp does.
CONTEXT_STEP = 256


@llama_cpp.llama_log_callback
def log(level, text, _):
    """Errors alone: at the other levels it tells everything that it reads."""
    if level == 4:
        print(text.decode("utf-8", "replace"), end="", file=sys.stderr, flush=True)


def token(index, sequence, vocabulary):
    """The fixed text; crates/carnot-llm/examples/bench_driver.rs computes the same."""
    at = index + 1009 * sequence
    return (7 * at * at + 13 * at + 5) % vocabulary


def refuse(what):
    raise RuntimeError(what)


class Batch:
    """One call of llama_decode, its arrays kept alive."""

    def __init__(self, rows):
        """`rows`: token, position, sequence, and whether its logits are wanted."""
        count = len(rows)
        tokens, positions, sequences, logits = zip(*rows)
        self.tokens = (llama_cpp.llama_token * count)(*tokens)
        self.positions = (llama_cpp.llama_pos * count)(*positions)
        self.counts = (ctypes.c_int32 * count)(*[1] * count)
        self.sequences = (llama_cpp.llama_seq_id * count)(*sequences)
        pointer = ctypes.POINTER(llama_cpp.llama_seq_id)
        size = ctypes.sizeof(llama_cpp.llama_seq_id)
        base = ctypes.addressof(self.sequences)
        self.pointers = (pointer * count)(*[ctypes.cast(base + row * size, pointer) for row in range(count)])
        self.logits = (ctypes.c_int8 * count)(*[int(wanted) for wanted in logits])
        self.value = llama_cpp.llama_batch(
            count, self.tokens, None, self.positions, self.counts, self.pointers, self.logits
        )
        self.last = max((row for row in range(count) if logits[row]), default=-1)

    def run(self, context):
        status = llama_cpp.llama_decode(context, self.value)
        if status != 0:
            refuse(f"llama_decode of {len(self.tokens)} tokens: expected status 0, got {status}")


class Driver:
    """A model, and the context of the last kind of work with its cache filled to the depth."""

    def __init__(self, options):
        self.options = options
        params = llama_cpp.llama_model_default_params()
        params.use_extra_bufts = True
        self.model = llama_cpp.llama_model_load_from_file(options.model.encode(), params)
        if not self.model:
            refuse(f"{options.model}: llama.cpp cannot load it")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.context = None
        self.kind = None

    def open(self, tokens, sequences):
        """A context with room for `tokens` tokens of each sequence."""
        if self.context:
            llama_cpp.llama_free(self.context)
        self.kind = None
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = sequences * (-(-tokens // CONTEXT_STEP) * CONTEXT_STEP)
        params.n_batch = params.n_ubatch = CHUNK
        params.n_seq_max = sequences
        params.kv_unified = self.options.unified
        params.n_threads = params.n_threads_batch = self.options.threads
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F16
        enabled, disabled = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED, llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = enabled if self.options.flash_attention else disabled
        params.offload_kqv = params.op_offload = False
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            refuse(f"llama.cpp makes no context of {params.n_ctx} tokens for {sequences} sequences")
        self.memory = llama_cpp.llama_get_memory(self.context)

    def prefill(self, sequence, first, end):
        """Batches for the tokens `first..end` of a sequence; the last row's logits are wanted."""
        return [
            Batch([(self.token(at, sequence), at, sequence, at == end - 1) for at in range(start, min(end, start + CHUNK))])
            for start in range(first, end, CHUNK)
        ]

    def decode(self, sequences, first, steps):
        """A batch for each step: one token of every sequence, the logits of all wanted."""
        return [
            Batch([(self.token(at, sequence), at, sequence, True) for sequence in range(sequences)])
            for at in range(first, first + steps)
        ]

    def token(self, index, sequence):
        return token(index, sequence, self.vocabulary)

    def batches(self, work, tokens):
        if work["phase"] == "prefill":
            return [batch for sequence in range(work["sequences"]) for batch in self.prefill(sequence, work["depth"], work["depth"] + tokens)]
        return self.decode(work["sequences"], work["depth"], tokens)

    def run(self, batches):
        for batch in batches:
            batch.run(self.context)
        llama_cpp.llama_synchronize(self.context)

    def rewind(self, work):
        for sequence in range(work["sequences"]):
            if not llama_cpp.llama_memory_seq_rm(self.memory, sequence, work["depth"], -1):
                refuse(f"llama_memory_seq_rm refuses to cut sequence {sequence} at {work['depth']}")

    def prepare(self, work):
        """Makes the context and fills it to the depth, unless the last work was of the same kind."""
        kind = tuple(work[field] for field in ("phase", "tokens", "depth", "sequences", "warmup"))
        if kind == self.kind:
            return
        self.open(work["depth"] + max(work["tokens"], work["warmup"]), work["sequences"])
        for sequence in range(work["sequences"]):
            self.run(self.prefill(sequence, 0, work["depth"]))
        if work["phase"] == "prefill":
            self.run(self.batches(work, min(work["tokens"], CHUNK)))
            self.rewind(work)
        self.kind = kind

    def measure(self, work):
        begin = time.perf_counter()
        self.prepare(work)
        warmup, batches = self.batches(work, work["warmup"]), self.batches(work, work["tokens"])
        self.run(warmup)
        start = time.perf_counter()
        for _ in range(work["repeat"]):
            self.rewind(work)
            self.run(batches)
        end = time.perf_counter()
        top = self.top(batches[-1])
        self.rewind(work)
        tokens = work["tokens"] * work["sequences"] * work["repeat"]
        return {"seconds": end - start, "tokens": tokens, "prepare_seconds": start - begin, "top": top}

    def top(self, batch):
        """The likeliest token after the last row, which shows that both engines did the same work."""
        logits = llama_cpp.llama_get_logits_ith(self.context, batch.last)
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(self.vocabulary,))))


def say(answer):
    print(json.dumps(answer), flush=True)


def versions():
    return {"engine": "llama.cpp", "version": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"}


def first_token(options, begin):
    driver = Driver(options)
    driver.open(options.context, 1)
    (batch,) = driver.prefill(0, 0, options.first_token)
    driver.run([batch])
    top = driver.top(batch)
    say({"seconds": time.perf_counter() - begin, "tokens": options.first_token, "prepare_seconds": 0.0, "top": top})


def serve(options, begin):
    driver = Driver(options)
    system = llama_cpp.llama_print_system_info().decode().strip()
    say({**versions(), "system": system, "load_seconds": time.perf_counter() - begin})
    for line in sys.stdin:
        say(driver.measure(json.loads(line)))


def main():
    begin = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash-attention", action="store_true")
    parser.add_argument("--unified", action="store_true", help="one buffer of keys and values for all sequences")
    parser.add_argument("--first-token", type=int, metavar="N", help="load, evaluate N tokens, say how long it took, end")
    parser.add_argument("--context", type=int, default=512, help="tokens of the context, for --first-token")
    parser.add_argument("--version", action="store_true", help="say what would run, and end")
    options = parser.parse_args()
    if options.version:
        say(versions())
        return
    if options.model is None:
        parser.error("expected a model, got none")
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    try:
        (first_token if options.first_token else serve)(options, begin)
    except RuntimeError as error:
        say({"error": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
