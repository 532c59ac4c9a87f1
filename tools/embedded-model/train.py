"""Train the small language model that is built into Carnot, from the source of CPython's standard library.

    python train.py --out OUT [--minutes 75] [--seed 0]

Needs torch, transformers, tokenizers, safetensors, numpy. Deterministic for a given CPython version, seed and number of steps;
resumes from OUT/checkpoint.pt. Writes OUT/{model.safetensors,config.json,tokenizer.json,tokenizer_config.json},
OUT/{calibration,validation}.txt and OUT/curve.json (step, tokens seen, seconds, training and validation loss in bits per byte).
"""
import argparse
import hashlib
import json
import math
import pathlib
import platform
import sysconfig
import time

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 4096
BEGIN, END = "<|begin|>", "<|end|>"
MAX_FILE_BYTES = 300_000
SKIPPED_FOLDERS = {"site-packages", "encodings", "__pycache__", "idle_test", "cjkencodings", "config-3"}
CHAT_TEMPLATE = (
    "{% for message in messages %}# {{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}# assistant: {% endif %}"
)


def corpus():
    """The standard library's files as {split: [text]}; the split depends on the hash of the path alone."""
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    splits = {"train": [], "calibration": [], "validation": []}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS & set(relative.parts) or path.stat().st_size > MAX_FILE_BYTES:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        bucket = int(hashlib.sha256(str(relative).encode()).hexdigest(), 16) % 100
        split = "validation" if bucket < 3 else "calibration" if bucket < 6 else "train"
        splits[split].append(text)
    return splits


def train_tokenizer(texts):
    """Byte-level BPE with GPT-2's pre-tokenisation, so that every GGUF runtime can reproduce it (`pre` = gpt-2)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, texts):
    """One stream of token ids: BEGIN text END BEGIN text END ..."""
    begin, end = tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)
    stream = []
    for encoding in tokenizer.encode_batch(texts):
        stream += [begin, *encoding.ids, end]
    return torch.from_numpy(np.array(stream, dtype=np.int32))


def batch(stream, rng, rows, length):
    starts = torch.randint(0, len(stream) - length - 1, (rows,), generator=rng).tolist()
    return torch.stack([stream[s : s + length + 1] for s in starts]).long()


def loss_of(model, rows):
    logits = model(rows[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


@torch.no_grad()
def bits_per_byte(model, stream, byte_count, length=512, limit=96):
    """Loss over evenly spaced windows, in bits per byte of the split's text."""
    model.eval()
    starts = np.linspace(0, len(stream) - length - 1, limit).astype(int)
    total = 0.0
    for chunk in np.array_split(starts, max(1, limit // 8)):
        rows = torch.stack([stream[s : s + length + 1] for s in chunk]).long()
        total += loss_of(model, rows).item() * len(chunk)
    model.train()
    return total / limit / math.log(2) * len(stream) / byte_count


class Progress:
    """What a checkpoint holds besides the model: where training is, and how it went."""

    def __init__(self, path):
        self.path = path
        self.step, self.seen, self.spent, self.curve = 0, 0, 0.0, []

    def resume(self, model, optimizer, rng):
        if not self.path.exists():
            return
        state = torch.load(self.path, weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        rng.set_state(state["rng"])
        self.step, self.seen, self.spent, self.curve = state["step"], state["seen"], state["spent"], state["curve"]

    def save(self, model, optimizer, rng):
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng.get_state()}
        torch.save(state | {"step": self.step, "seen": self.seen, "spent": self.spent, "curve": self.curve}, self.path)


def build_model(tokenizer):
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_theta=10000.0,
        bos_token_id=tokenizer.token_to_id(BEGIN), eos_token_id=tokenizer.token_to_id(END),
    )
    return config, LlamaForCausalLM(config)


def learning_rate(step, progress):
    """Linear warm-up over 150 steps, then a cosine over the time budget."""
    warm = min(1.0, (step + 1) / 150)
    return warm * (1e-4 + 0.5 * (2e-3 - 1e-4) * (1 + math.cos(math.pi * progress)))


def train(model, streams, byte_counts, minutes, rng, checkpoint):
    """Train until the time is up; returns the progress made."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
    made = Progress(checkpoint)
    made.resume(model, optimizer, rng)
    budget = minutes * 60
    started = time.time() - made.spent
    running = None
    while (elapsed := time.time() - started) < budget:
        progress = elapsed / budget
        rows, length = (8, 512) if progress < 0.85 else (4, 1024)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(made.step, progress)
        loss = loss_of(model, batch(streams["train"], rng, rows, length))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        made.step, made.seen, made.spent = made.step + 1, made.seen + rows * length, elapsed
        running = loss.item() if running is None else 0.95 * running + 0.05 * loss.item()
        if made.step % 200 == 0:
            ratio = len(streams["train"]) / byte_counts["train"] / math.log(2)
            validation = bits_per_byte(model, streams["validation"], byte_counts["validation"])
            made.curve.append({
                "step": made.step, "tokens": made.seen, "seconds": round(elapsed), "train_bpb": round(running * ratio, 4),
                "validation_bpb": round(validation, 4),
            })
            print(made.curve[-1], flush=True)
            made.save(model, optimizer, rng)
    made.spent = time.time() - started
    return made


def write_model(out, config, model, tokenizer):
    half = {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(half, out / "model.safetensors", metadata={"format": "pt"})
    described = config.to_dict() | {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float16", "rope_theta": 10000.0}
    (out / "config.json").write_text(json.dumps(described, indent=1, sort_keys=True))
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END, "add_bos_token": True,
        "chat_template": CHAT_TEMPLATE, "model_max_length": 1024,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = torch.Generator().manual_seed(options.seed)

    splits = corpus()
    byte_counts = {name: sum(len(text.encode()) for text in texts) for name, texts in splits.items()}
    tokenizer = train_tokenizer(splits["train"])
    streams = {name: encode(tokenizer, texts) for name, texts in splits.items()}
    sizes = {name: (len(splits[name]), byte_counts[name], len(streams[name])) for name in splits}
    print(sizes, flush=True)

    config, model = build_model(tokenizer)
    made = train(model, streams, byte_counts, options.minutes, rng, out / "checkpoint.pt")
    windows = len(streams["validation"]) // 512
    final = {
        "validation_bpb": bits_per_byte(model, streams["validation"], byte_counts["validation"], limit=windows),
        "steps": made.step, "tokens": made.seen, "seconds": round(made.spent), "python": platform.python_version(),
        "torch": torch.__version__, "seed": options.seed, "split_files_bytes_tokens": sizes,
    }
    (out / "curve.json").write_text(json.dumps({"final": final, "curve": made.curve}, indent=1))
    write_model(out, config, model, tokenizer)
    for name in ("calibration", "validation"):
        text = "\n".join(splits[name]).encode()[:300_000].decode("utf-8", errors="ignore")
        (out / f"{name}.txt").write_text(text, encoding="utf-8")
    print(final)


if __name__ == "__main__":
    main()
