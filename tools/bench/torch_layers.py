"""Times of a PyTorch model's layers by carnot.instrument, against torch.profiler's of the same layers, in turns.

    python tools/bench/torch_layers.py [--rounds 10]

Needs the package carnot (`pip install ./crates/carnot-python`) and torch. The model is a vision transformer of real shape: 8 blocks of width 384, 196 patches.
torch.profiler sees each layer as a record_function that hooks begin and end, as carnot.instrument does.
"""

import argparse
import statistics
import tempfile

import carnot
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.activation, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(self.activation(self.up(self.norm2(x))))


def model() -> nn.Module:
    torch.manual_seed(0)
    width = 384
    return nn.Sequential(*[Block(width, 6) for _ in range(8)], nn.LayerNorm(width), nn.Linear(width, 1000)).eval()


def by_carnot(net: nn.Module, x: torch.Tensor, calls: int) -> dict[str, float]:
    """Median milliseconds of a call of each layer."""
    with tempfile.TemporaryDirectory() as folder:
        session = carnot.Session("layers", output=folder, show=None, generate_final_report=False)
        with session, carnot.instrument(net, name="vit"):
            for _ in range(calls):
                net(x)
        times: dict[str, list[float]] = {}
        for span in carnot.read_trace(session.trace)["spans"]:
            if span["kind"] == "layer":
                times.setdefault(span["name"], []).append((span["end_ns"] - span["start_ns"]) / 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def by_torch(net: nn.Module, x: torch.Tensor, calls: int) -> dict[str, float]:
    """The same by torch.profiler."""
    open_: list[torch.profiler.record_function] = []
    handles = []

    def hook(name: str, layer: nn.Module) -> None:
        def before(*_: object) -> None:
            open_.append(torch.profiler.record_function(name))
            open_[-1].__enter__()

        def after(*_: object) -> None:
            open_.pop().__exit__(None, None, None)

        handles.append(layer.register_forward_pre_hook(before))
        handles.append(layer.register_forward_hook(after))

    for name, layer in net.named_modules():
        # MultiheadAttention has a child that it never calls: it is the layer.
        inner = any(isinstance(other, nn.MultiheadAttention) and layer is not other and layer in list(other.modules()) for other in net.modules())
        if (not list(layer.children()) or isinstance(layer, nn.MultiheadAttention)) and not inner:
            hook(name, layer)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(calls):
            net(x)
    for handle in handles:
        handle.remove()
    times: dict[str, list[float]] = {}
    for event in profile.events():
        times.setdefault(event.name, []).append(event.time_range.elapsed_us() / 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    arguments = parser.parse_args()
    net, x = model(), torch.randn(1, 196, 384)
    ratios: dict[str, list[float]] = {}
    last: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        net(x)
        for _ in range(arguments.rounds):
            ours, theirs = by_carnot(net, x, arguments.calls), by_torch(net, x, arguments.calls)
            for name in ours:
                key = next((known for known in (name, name.removeprefix("vit.")) if known in theirs), None)
                if key is not None:
                    ratios.setdefault(key, []).append(ours[name] / theirs[key])
                    last[key] = ours[name], theirs[key]
    print(f"{'layer':24}{'carnot, ms':>12}{'torch, ms':>12}{'ratio, median of rounds':>26}")
    for name, values in ratios.items():
        print(f"{name:24}{last[name][0]:12.3f}{last[name][1]:12.3f}{statistics.median(values):26.3f}")
    every = [statistics.median(values) for values in ratios.values()]
    print(f"{len(every)} layers; median of their ratios {statistics.median(every):.3f}, from {min(every):.3f} to {max(every):.3f}")


if __name__ == "__main__":
    main()
