"""An independent forward pass in plain NumPy: what Carnot's logits and perplexities are held to.

    python tools/reference/forward.py logits MODEL --tokens 1,2,3 [--positions 0,2] --out FILE
    python tools/reference/forward.py perplexity MODEL TEXT [--protocol llamacpp|huggingface] [--context 512] [--chunks N]
    python tools/reference/forward.py goldens TINY_MODELS crates/carnot-llm/tests/fixtures

MODEL is a GGUF file (llama with mistral's window, qwen2, qwen3; any tensor type that the `gguf` package decodes) or a directory with
config.json and model.safetensors (llama). Needs gguf and numpy; `perplexity` also needs llama-cpp-python, whose tokenizer reads the text:
of a directory, name the vocabulary with --vocabulary FILE.gguf.

The weights are decoded and everything is computed in 64 bits: no quantised activations, no half-precision cache. The code shares
nothing with the engine and is written to be read beside the papers: RMS norm (Zhang and Sennrich, 2019), rotary positions (Su et al., 2021),
grouped-query attention (Ainslie et al., 2023), SiLU-gated feed-forward (Shazeer, 2020).
"""
import argparse
import json
import math
import pathlib

import numpy as np

PROMPT_LENGTH = 48
GOLDEN_POSITIONS = [0, 20, PROMPT_LENGTH - 1]


class Model:
    """Hyperparameters, and weights by their GGUF names."""

    def __init__(self, weights, hidden, layers, heads, kv_heads, head_dim, epsilon, theta, interleaved, rotated, window, scale):
        self.weights, self.hidden, self.layers, self.heads, self.kv_heads = weights, hidden, layers, heads, kv_heads
        self.head_dim, self.epsilon, self.interleaved, self.window = head_dim, epsilon, interleaved, window
        self.frequencies = theta ** (-np.arange(0, rotated, 2) / rotated) / scale
        if "rope_freqs.weight" in weights:
            self.frequencies = self.frequencies / weights["rope_freqs.weight"]

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon) * weight

    def rotate(self, x):
        """Rotates the leading elements of every head; `x` is positions × heads × head size."""
        angles = np.arange(len(x))[:, None, None] * self.frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        half = len(self.frequencies)
        first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if self.interleaved else (slice(0, half), slice(half, 2 * half))
        out = x.copy()
        out[..., first] = x[..., first] * cos - x[..., second] * sin
        out[..., second] = x[..., first] * sin + x[..., second] * cos
        return out

    def attention(self, x, part):
        length = len(x)

        def heads(name, count):
            projected = x @ part(f"attn_{name}.weight").T
            if part(f"attn_{name}.bias") is not None:
                projected = projected + part(f"attn_{name}.bias")
            projected = projected.reshape(length, count, self.head_dim)
            norm = part(f"attn_{name}_norm.weight")
            return projected if norm is None else self.norm(projected, norm)

        query, key, value = heads("q", self.heads), heads("k", self.kv_heads), heads("v", self.kv_heads)
        query, key = self.rotate(query), self.rotate(key)
        shared = self.heads // self.kv_heads
        key, value = (np.repeat(of, shared, axis=1).transpose(1, 0, 2) for of in (key, value))
        scores = query.transpose(1, 0, 2) @ key.transpose(0, 2, 1) / math.sqrt(self.head_dim)
        back = np.arange(length)[:, None] - np.arange(length)[None, :]
        visible = (back >= 0) & (back < (self.window or length))
        scores = np.where(visible, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        joined = (weights @ value).transpose(1, 0, 2).reshape(length, -1)
        return joined @ part("attn_output.weight").T

    def feed_forward(self, x, part):
        gate, up = x @ part("ffn_gate.weight").T, x @ part("ffn_up.weight").T
        return (gate / (1 + np.exp(-gate)) * up) @ part("ffn_down.weight").T

    def logits(self, tokens, positions=slice(None)):
        """The logits after each of `positions`, all of them as a rule."""
        x = self.weights["token_embd.weight"][tokens]
        for layer in range(self.layers):
            def part(name):
                return self.weights.get(f"blk.{layer}.{name}")

            x = x + self.attention(self.norm(x, part("attn_norm.weight")), part)
            x = x + self.feed_forward(self.norm(x, part("ffn_norm.weight")), part)
        output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self.norm(x[positions], self.weights["output_norm.weight"]) @ output.T


def read_gguf(path):
    from gguf import GGUFReader, quants

    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    architecture = fields["general.architecture"]

    def get(name, default=None):
        return fields.get(f"{architecture}.{name}", default)

    weights = {tensor.name: quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64) for tensor in reader.tensors}
    heads = get("attention.head_count")
    head_dim = get("attention.key_length", get("embedding_length") // heads)
    linear = get("rope.scaling.type") == "linear"
    return Model(
        weights, get("embedding_length"), get("block_count"), heads, get("attention.head_count_kv", heads), head_dim,
        get("attention.layer_norm_rms_epsilon"), float(get("rope.freq_base", 10_000.0)), architecture == "llama",
        get("rope.dimension_count", head_dim), get("attention.sliding_window"), get("rope.scaling.factor", 1.0) if linear else 1.0,
    )


NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def read_directory(path):
    config = json.loads((path / "config.json").read_text())
    if config["model_type"] != "llama":
        raise SystemExit(f"{path}: model_type {config['model_type']}: directories of llama models are read, others as GGUF")
    raw = (path / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    weights = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
        module = name.removesuffix(".weight")
        if module.startswith("model.layers."):
            layer, module = module.removeprefix("model.layers.").split(".", 1)
            module = f"blk.{layer}.{NAMES[module]}"
        else:
            module = NAMES[module]
        weights[module + ".weight"] = np.frombuffer(raw[begin:end], dtype).reshape(entry["shape"]).astype(np.float64)
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return Model(
        weights, config["hidden_size"], config["num_hidden_layers"], heads, config["num_key_value_heads"], head_dim,
        config["rms_norm_eps"], config["rope_theta"], False, head_dim, None, 1.0,
    )


def read(path):
    return read_directory(path) if path.is_dir() else read_gguf(path)


def tokenize(path, text, add_bos):
    from llama_cpp import Llama

    vocabulary = Llama(str(path), vocab_only=True, verbose=False)
    return vocabulary.tokenize(text.encode(), add_bos=add_bos, special=False), vocabulary.token_bos()


def perplexity(model, tokens, bos, protocol, context, chunks):
    """Perplexity, its standard error, and the number of scored tokens; see docs/correctness.md for the two protocols."""
    losses = []
    first = context // 2 if protocol == "llamacpp" else 0
    for start in range(0, len(tokens) // context * context, context)[:chunks]:
        text = tokens[start : start + context]
        given = [bos, *text[1:]] if protocol == "llamacpp" else text
        logits = model.logits(given, slice(first, context - 1))
        top = logits.max(axis=1)
        total = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        losses.append(total - logits[np.arange(len(logits)), text[first + 1 :]])
    losses = np.concatenate(losses)
    value = math.exp(losses.mean())
    error = value * math.sqrt(((losses**2).mean() - losses.mean() ** 2) / (len(losses) - 1))
    return value, error, len(losses)


def prompt(vocabulary):
    """The tokens that the goldens continue; the Rust tests compute the same."""
    return [(7 * at * at + 13 * at + 5) % vocabulary for at in range(PROMPT_LENGTH)]


def goldens(tiny, out):
    """One file per model: the logits after each golden position, as little-endian singles."""
    sources = {path.stem: path for path in sorted(tiny.glob("*.gguf"))}
    models = pathlib.Path(__file__).parents[2] / "models"
    sources |= {"embedded-Q8_0": models / "embedded-q8_0.gguf", "embedded-safetensors": models / "embedded"}
    for name, path in sources.items():
        model = read(path)
        vocabulary = len(model.weights["token_embd.weight"])
        values = model.logits(prompt(vocabulary), GOLDEN_POSITIONS)
        (out / f"{name}.logits.f32").write_bytes(values.astype("<f4").tobytes())
        print(f"{name}: largest logit {abs(values).max():.3f}, deviation {values.std():.3f}")


def numbers(text):
    return [int(number) for number in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("logits")
    mode.add_argument("model", type=pathlib.Path)
    mode.add_argument("--tokens", type=numbers, required=True)
    mode.add_argument("--positions", type=numbers)
    mode.add_argument("--out", type=pathlib.Path, required=True)
    mode = modes.add_parser("perplexity")
    mode.add_argument("model", type=pathlib.Path)
    mode.add_argument("text", type=pathlib.Path)
    mode.add_argument("--vocabulary", type=pathlib.Path)
    mode.add_argument("--protocol", choices=["llamacpp", "huggingface"], default="llamacpp")
    mode.add_argument("--context", type=int, default=512)
    mode.add_argument("--chunks", type=int)
    mode = modes.add_parser("goldens")
    mode.add_argument("tiny", type=pathlib.Path)
    mode.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    if options.mode == "goldens":
        goldens(options.tiny, options.out)
    elif options.mode == "logits":
        values = read(options.model).logits(options.tokens, options.positions if options.positions else slice(None))
        options.out.write_bytes(values.astype("<f4").tobytes())
    else:
        text = options.text.read_text(encoding="utf-8")
        tokens, bos = tokenize(options.vocabulary or options.model, text, options.protocol == "llamacpp")
        value, error, count = perplexity(read(options.model), tokens, bos, options.protocol, options.context, options.chunks)
        print(f"{options.model.name}: {options.protocol} perplexity {value:.6f} ± {error:.4f} over {count} tokens")


if __name__ == "__main__":
    main()
