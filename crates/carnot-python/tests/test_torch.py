"""`carnot.instrument` on PyTorch modules, against work counted by hand."""

from __future__ import annotations

import carnot
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -r tools/requirements-torch.txt")
nn = torch.nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=True), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 2, stride=2, groups=2, bias=False)
        )
        self.head = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def test_a_small_net_against_work_counted_by_hand(recorded):
    net = Net().eval()
    handle = carnot.instrument(net, name="net")
    with recorded() as run, torch.no_grad():
        assert net(torch.randn(2, 3, 8, 8)).shape == (2, 10)
        net(torch.randn(1, 3, 8, 8))
    table = {layer["name"]: layer for layer in handle.layers()}
    handle.remove()
    assert list(table) == ["net.features.0", "net.features.1", "net.features.2", "net.features.3", "net.head"]
    # One image: 8 × 8 × 8 outputs of 27 products each, and a bias; 512 elements normed with running statistics; 4 × 4 × 4 outputs
    # of 4 channels × 4 places; 10 outputs of 64 products, and a bias.
    by_hand = {
        "net.features.0": (2 * 512 * 27 + 512, 3 * 8 * 9 + 8, 512 * 4),
        "net.features.1": (512 * 4, 16, 512 * 4),
        "net.features.2": (None, 0, 512 * 4),
        "net.features.3": (2 * 64 * 4 * 4, 4 * 4 * 4, 64 * 4),
        "net.head": (2 * 10 * 64 + 10, 650, 10 * 4),
    }
    told = {name: (layer["flops"], layer["parameters"], layer["activation_bytes"]) for name, layer in table.items()}
    assert told == by_hand
    batches = [[span for span in run.spans if span["name"] == name] for name in by_hand]
    for (flops, _, _), (two, one) in zip(by_hand.values(), batches):
        assert (two["kind"], one["flops"], two["flops"]) == ("layer", flops or 0, 2 * (flops or 0))
    head = batches[-1][1]
    assert head["bytes"] == 4 * (650 + 64 + 10) and head["index"] == 4
    first, second = (span for span in run.spans if span["name"] == "net")
    assert first["kind"] == "stage" and first["end_ns"] <= second["start_ns"]
    assert all(first["start_ns"] <= two["start_ns"] and two["end_ns"] <= first["end_ns"] for two, _ in batches)
    run.assert_nested()
    total = sum(parameter.numel() for parameter in net.parameters())
    assert run.trace["session"]["models"] == [{"name": "net", "kind": "Net", "parameters": total}]
    (note,) = run.trace["notes"]
    assert note["name"] == "torch_layers" and [layer["name"] for layer in note["data"]["layers"]] == list(by_hand)


@pytest.mark.parametrize(
    ("module", "shape", "flops"),
    [
        (nn.Linear(5, 7, bias=False), (2, 3, 5), 2 * 2 * 3 * 7 * 5),
        (nn.Conv1d(4, 6, 3), (1, 4, 10), 2 * 6 * 8 * 12 + 48),
        (nn.Conv3d(2, 4, 2, bias=False), (1, 2, 3, 3, 3), 2 * 4 * 8 * 16),
        (nn.ConvTranspose2d(4, 2, 2, stride=2, bias=False), (1, 4, 3, 3), 2 * 36 * 8),
        (nn.LayerNorm(8), (2, 8), 16 * 7),
        (nn.LayerNorm(8, elementwise_affine=False), (2, 8), 16 * 5),
        (nn.GroupNorm(2, 4), (1, 4, 3), 12 * 7),
        (nn.BatchNorm1d(4), (5, 4), 20 * 7),
        (nn.InstanceNorm1d(4), (1, 4, 5), 20 * 5),
        (nn.RMSNorm(8), (2, 8), 16 * 4),
        (nn.GELU(), (3,), None),
    ],
)
def test_formulas(recorded, module, shape, flops):
    with carnot.instrument(module) as handle, recorded() as run:
        module(torch.randn(*shape))
    (layer,) = handle.layers()
    assert layer["flops"] == flops
    (span,) = (span for span in run.spans if span["kind"] == "layer")
    assert span["flops"] == (flops or 0)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention(recorded, batch_first):
    """Three sequences of 5 queries and 7 keys, 8 wide: four projections, scores and values."""
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    query, key = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    if not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    with carnot.instrument(module) as handle, recorded():
        module(query, key, key)
    projections = 2 * 8 * 8 * (15 + 15 + 21 + 21) + 8 * (15 + 15 + 21 + 21)
    (layer,) = handle.layers()
    assert layer["flops"] == projections + 3 * 2 * (2 * 5 * 7 * 8)


def test_an_embedding_reads_the_rows_that_are_asked_for(recorded):
    module = nn.Embedding(1000, 16)
    with carnot.instrument(module, name="e"), recorded() as run:
        module(torch.tensor([[1, 2, 3]]))
    (span,) = (span for span in run.spans if span["kind"] == "layer")
    assert (span["flops"], span["bytes"]) == (0, 3 * 8 + 2 * 3 * 16 * 4)


def test_depth_tells_of_blocks_with_the_work_of_what_they_contain(recorded):
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2))), nn.Linear(2, 1))
    with carnot.instrument(net, name="n", depth=1) as handle, recorded() as run:
        net(torch.randn(1, 4))
    assert [(layer["name"], layer["flops"]) for layer in handle.layers()] == [("n.0", 32 + 4 + 16 + 2), ("n.1", 4 + 1)]
    assert run.names() == ["n", "n.0", "n.1"]
    with carnot.instrument(net, name="n", depth=2) as handle:
        pass
    assert [layer["name"] for layer in handle.layers()] == ["n.0.0", "n.0.1", "n.1"]
    with pytest.raises(ValueError, match="depth: expected 1 or more, got 0"):
        carnot.instrument(net, depth=0)


def test_an_exception_in_a_layer_leaves_nothing_open(recorded):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 3))
    with carnot.instrument(net, name="n"), recorded() as run:
        with pytest.raises(RuntimeError):
            net(torch.randn(1, 4))
        with carnot.stage("after"):
            pass
        net[0](torch.randn(1, 4))
    assert run.names() == ["n", "n.0", "n.1", "after", "n.0"]
    run.assert_nested()


def test_what_is_removed_leaves_the_module_as_it_was(recorded):
    net = nn.Sequential(nn.Linear(4, 4))
    handle = carnot.instrument(net)
    handle.remove()
    handle.remove()
    with recorded() as run:
        net(torch.randn(1, 4))
    assert run.names() == []
    assert not net._forward_hooks and not net._forward_pre_hooks and not net[0]._forward_hooks and not net[0]._forward_pre_hooks


def test_off_a_module_computes_the_same(recorded):
    net = Net().eval()
    x = torch.randn(1, 3, 8, 8)
    expected = net(x)
    with carnot.instrument(net):
        assert torch.equal(net(x), expected)
        with recorded():
            assert torch.equal(net(x), expected)


def test_training_passes_gradients_through(recorded):
    net = Net()
    with carnot.instrument(net), recorded():
        net(torch.randn(2, 3, 8, 8)).sum().backward()
    assert net.head.weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_device_times_its_layers(recorded):
    net = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(4))).cuda()
    x = torch.randn(512, 2048, device="cuda")
    net(x)
    with carnot.instrument(net, name="n"), recorded() as run:
        for _ in range(10):
            net(x)
    layers = [span for span in run.spans if span["kind"] == "layer"]
    assert len(layers) == 40 and {span["thread_name"] for span in layers} == {"cuda:0"}
    assert all(span["end_ns"] > span["start_ns"] and span["flops"] == 2 * 512 * 2048 * 2048 + 512 * 2048 for span in layers)
    for before, after in zip(layers, layers[1:]):
        assert before["start_ns"] <= after["start_ns"]
    stage = next(span for span in run.spans if span["name"] == "n")
    assert layers[0]["start_ns"] >= stage["start_ns"] - 1_000_000


def test_a_module_is_expected():
    with pytest.raises(TypeError, match="module: expected a torch.nn.Module, got builtins.int"):
        carnot.instrument(3)
