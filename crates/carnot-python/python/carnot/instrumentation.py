"""PyTorch: `carnot.instrument(module)` makes each layer's call a span with its work, by forward hooks.

Whether a layer runs on the host or on a CUDA device is seen at each call. On a device the call only orders the work, so that its time is taken by CUDA
events; they are read when the device has passed them, and nothing waits. PyTorch is imported by whoever has a module, never by this package.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from . import _carnot, flops
from .session import before_end, event, model, session


@dataclass
class _Layer:
    """A layer that is told of."""

    name: str
    index: int
    type: str
    parameters: int
    span: _carnot.Span
    flops: int | None = None
    activation_bytes: int | None = None
    output_shape: list[int] = field(default_factory=list)


@dataclass
class _Call:
    """A call under way, of a layer that is told of."""

    layer: _Layer
    flops: int = 0
    bytes: int = 0
    is_counted: bool = False
    device: _Device | None = None
    """Where it runs; `None` for the host."""
    began: Any = None
    """The CUDA event that it began with."""


class _Device:
    """The times of one CUDA device, told on a line of its own."""

    # CUDA tells intervals as 32-bit milliseconds: within a second of the anchor they are good to a tenth of a microsecond.
    REACH_NS = 1e9

    def __init__(self, torch: Any, device: Any) -> None:
        self.torch, self.line = torch, f"cuda:{device.index}"
        self.waiting: deque[tuple[_Call, Any]] = deque()
        self.free: list[Any] = []
        # The one time that is waited for: a moment that both clocks know.
        self.anchor = self.event()
        torch.cuda.synchronize(device)
        self.anchor.record()
        self.anchor.synchronize()
        self.ticks = _carnot.ticks()
        self.anchor_ns = 0.0

    def event(self) -> Any:
        return self.free.pop() if self.free else self.torch.cuda.Event(enable_timing=True)

    def mark(self) -> Any:
        mark = self.event()
        mark.record()
        return mark

    def resolve(self, is_waiting: bool) -> None:
        """Tells of what the device has done; of everything, once it is done, where `is_waiting`."""
        while self.waiting:
            call, ended = self.waiting[0]
            if is_waiting:
                ended.synchronize()
            elif not ended.query():
                return
            self.waiting.popleft()
            start_ns = self.anchor_ns + self.anchor.elapsed_time(call.began) * 1e6
            duration_ns = call.began.elapsed_time(ended) * 1e6
            layer = call.layer
            _carnot.past(
                self.line, layer.name, self.ticks, start_ns, duration_ns, layer.index, call.flops, call.bytes
            )
            self.free.append(call.began)
            if start_ns + duration_ns > self.anchor_ns + self.REACH_NS:
                self.free.append(self.anchor)
                self.anchor_ns += self.anchor.elapsed_time(ended) * 1e6
                self.anchor = ended
            else:
                self.free.append(ended)


class Handle:
    """What `instrument` has put into a module; `remove` takes it out. Also a context manager that does so at its end."""

    def __init__(self, torch: Any, module: Any, name: str | None, depth: int | None) -> None:
        self._torch = torch
        self._name = name or type(module).__name__
        self._stage = _carnot.stage(self._name)
        self._parameters = flops.parameters(module)
        self._kind = type(module).__name__
        self._local = threading.local()
        self._devices: dict[int, _Device] = {}
        self._told: object = None
        self._layers: list[_Layer] = []
        self._chosen: list[tuple[Any, _Layer]] = []
        self._hooks = [
            module.register_forward_pre_hook(self._before_all),
            module.register_forward_hook(self._after_all, always_call=True),
        ]
        self._choose(module, depth)
        before_end.append(self.flush)

    def _choose(self, root: Any, depth: int | None) -> None:
        named = [("", root)] if self._is_leaf(root) else list(root.named_modules())[1:]
        inside: list[str] = []
        for name, module in named:
            if any(name.startswith(f"{part}.") for part in inside):
                continue
            is_leaf, level = self._is_leaf(module), name.count(".") + 1
            if is_leaf and (depth is None or level < depth) or level == depth:
                self._add(name, module)
            if is_leaf:
                inside.append(name)
                self._hooks.append(module.register_forward_hook(self._count, with_kwargs=True))
        # A layer's own end comes after its work was counted.
        for module, layer in self._chosen:
            end = lambda _module, _inputs, _made, layer=layer: self._after(layer)  # noqa: E731
            self._hooks.append(module.register_forward_hook(end, always_call=True))

    def _is_leaf(self, module: Any) -> bool:
        # The projections of attention are used without being called.
        return isinstance(module, self._torch.nn.MultiheadAttention) or next(module.children(), None) is None

    def _add(self, name: str, module: Any) -> None:
        full = f"{self._name}.{name}" if name else self._name
        index = len(self._layers)
        layer = _Layer(full, index, type(module).__name__, flops.parameters(module), _carnot.layer(full, index))
        self._layers.append(layer)
        self._chosen.append((module, layer))
        begin = lambda _module, inputs, named, layer=layer: self._before(layer, inputs, named)  # noqa: E731
        self._hooks.append(module.register_forward_pre_hook(begin, with_kwargs=True))

    @property
    def _calls(self) -> list[_Call]:
        """Those under way on this thread."""
        calls: list[_Call] = self._local.__dict__.setdefault("calls", [])
        return calls

    def _before_all(self, _module: Any, _inputs: Any) -> None:
        now = session()
        if now is not None and now is not self._told:
            model(self._name, parameters=self._parameters, kind=self._kind)
        # An exception may have left some open.
        self._calls.clear()
        self._stage.begin()

    def _after_all(self, _module: Any, _inputs: Any, _made: Any) -> None:
        self._stage.end()
        for device in self._devices.values():
            device.resolve(is_waiting=False)
        now = session()
        if now is not None and now is not self._told:
            self._told = now
            event("torch_layers", {"model": self._name, "layers": self.layers()})

    def _before(self, layer: _Layer, inputs: Any, named: Any) -> None:
        if not _carnot.is_recording():
            return
        call = _Call(layer)
        self._calls.append(call)
        given = flops.tensors((inputs, named))
        if given and given[0].is_cuda:
            call.device = self._device(given[0].device)
            call.began = call.device.mark()
        else:
            layer.span.begin()

    def _device(self, device: Any) -> _Device:
        known = self._devices.get(device.index)
        if known is None:
            known = self._devices[device.index] = _Device(self._torch, device)
        return known

    def _count(self, module: Any, inputs: Any, named: Any, made: Any) -> None:
        """Adds a leaf's work to the layer that it is, or is part of."""
        calls = self._calls
        if not calls:
            return
        call = calls[-1]
        given, outputs = flops.tensors((inputs, named)), flops.tensors(made)
        work = flops.operations(self._torch, module, given, outputs)
        call.bytes += flops.moved(self._torch, module, given, outputs)
        if work is not None:
            call.flops += work
            call.is_counted = True
        if outputs:
            call.layer.output_shape = list(outputs[0].shape)
            call.layer.activation_bytes = flops.size(made)

    def _after(self, layer: _Layer) -> None:
        calls = self._calls
        if not calls or calls[-1].layer is not layer:
            return
        call = calls.pop()
        layer.flops = call.flops if call.is_counted else None
        if call.device is None:
            layer.span.end(call.flops, call.bytes)
            return
        call.device.waiting.append((call, call.device.mark()))

    def layers(self) -> list[dict[str, Any]]:
        """Each layer that is told of: name, type, parameters; of its last call operations (`None` where there is no formula), the
        bytes of what it made, and its shape."""
        names = ("name", "type", "parameters", "flops", "activation_bytes", "output_shape")
        return [{name: getattr(layer, name) for name in names} for layer in self._layers]

    def flush(self) -> None:
        """Waits for the devices, and tells of everything that they have done."""
        for device in self._devices.values():
            device.resolve(is_waiting=True)

    def remove(self) -> None:
        """Takes all hooks out."""
        self.flush()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if self.flush in before_end:
            before_end.remove(self.flush)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def instrument(module: Any, *, name: str | None = None, depth: int | None = None) -> Handle:
    """Makes each call of `module` a stage, and of each of its layers a span with time, parameters, operations and bytes.

    A layer is a module without children; with `depth`, one that lies so deep (1 for the direct children), with the work of all that it contains. Names
    begin with `name`, or else with the module's class.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(module, torch.nn.Module):
        kind = type(module)
        raise TypeError(f"module: expected a torch.nn.Module, got {kind.__module__}.{kind.__qualname__}")
    if depth is not None and depth < 1:
        raise ValueError(f"depth: expected 1 or more, got {depth}")
    return Handle(torch, module, name, depth)
