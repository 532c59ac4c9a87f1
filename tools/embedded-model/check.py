"""Hold models/embedded-q8_0.gguf to the safetensors that it was converted from, with the `gguf` package as the judge.

    python tools/embedded-model/check.py [--models models] [--perplexity MODEL.gguf ...]

Needs gguf, numpy and safetensors' header only. Every tensor's bytes must be what the package's own quantiser makes of the source, query
and key rows permuted. With --perplexity (needs llama-cpp-python), prints llama.cpp's perplexity of each file on models/text/validation.txt:
512-token chunks, the first token replaced by the beginning-of-text token, the second half scored.
"""
import argparse
import json
import math
import pathlib

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, quants

LAYER_PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def source_tensors(path):
    """The float16 tensors of a safetensors file, by name."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F16", name
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        yield name, np.frombuffer(raw[begin:end], dtype=np.float16).astype(np.float32).reshape(entry["shape"])


def canonical(name):
    if name in ("model.embed_tokens.weight", "model.norm.weight"):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
    layer, part = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER_PARTS[part.removesuffix('.weight')]}.weight"


def permuted(values, heads):
    """Rows of each head from halves to interleaved pairs."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def check(models):
    config = json.loads((models / "embedded/config.json").read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    stored = {tensor.name: tensor for tensor in GGUFReader(models / "embedded-q8_0.gguf").tensors}
    count = 0
    for name, values in source_tensors(models / "embedded/model.safetensors"):
        for part, number in heads.items():
            if part in name:
                values = permuted(values, number)
        tensor = stored[canonical(name)]
        kind = GGMLQuantizationType.F32 if values.ndim == 1 else GGMLQuantizationType.Q8_0
        assert tensor.tensor_type == kind, (name, tensor.tensor_type)
        assert tensor.data.tobytes() == quants.quantize(values, kind).tobytes(), name
        count += 1
    assert count == len(stored), (count, len(stored))
    print(f"{count} tensors are what the gguf package makes of the source")


def perplexity(path, text, context=512):
    import llama_cpp
    from llama_cpp import Llama

    # Its AMX kernels stop the process in virtual machines that announce AMX and refuse it.
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def without_extra_buffers():
        params = defaults()
        params.use_extra_bufts = False
        return params

    llama_cpp.llama_cpp.llama_model_default_params = without_extra_buffers
    model = Llama(str(path), n_ctx=context, n_batch=context, logits_all=True, verbose=False)
    tokens = model.tokenize(text.encode(), add_bos=True, special=False)
    total, scored = 0.0, 0
    for start in range(0, len(tokens) // context * context, context):
        chunk = [model.token_bos(), *tokens[start + 1 : start + context]]
        model.reset()
        model.eval(chunk)
        logits = np.array(model.scores[context // 2 : context - 1], dtype=np.float64)
        targets = chunk[context // 2 + 1 :]
        top = logits.max(axis=1)
        total += (np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[range(len(targets)), targets]).sum()
        scored += len(targets)
    return math.exp(total / scored)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path("models"))
    parser.add_argument("--perplexity", type=pathlib.Path, nargs="*", default=[])
    options = parser.parse_args()
    check(options.models)
    text = (options.models / "text/validation.txt").read_text(encoding="utf-8")
    for path in options.perplexity:
        print(f"{path.name}: perplexity {perplexity(path, text):.4f}", flush=True)


if __name__ == "__main__":
    main()
