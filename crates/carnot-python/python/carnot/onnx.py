"""ONNX Runtime: `carnot.instrument_onnx(session)` makes each run a span, and can put the nodes that the runtime timed itself beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from . import _carnot
from .session import event

# The runtime's profile counts from the start of its session in microseconds.
MICROSECOND_NS = 1e3


class InstrumentedOnnx:
    """An `onnxruntime.InferenceSession` whose runs are stages. Anything that is not here is the session's own."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner = inner
        self._name = name
        self._span = _carnot.stage(name)

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        """As the session's own."""
        with self._span:
            return self._inner.run(output_names, input_feed, run_options)

    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> Any:
        """As the session's own."""
        with self._span:
            return self._inner.run_with_iobinding(iobinding, run_options)

    def run_with_ort_values(self, output_names: Any, input_dict_ort_values: Any, run_options: Any = None) -> Any:
        """As the session's own."""
        with self._span:
            return self._inner.run_with_ort_values(output_names, input_dict_ort_values, run_options)

    def fold_profile(self) -> int:
        """Ends the runtime's own profile, and puts the nodes that it timed into the recording, on a line of their own; returns how many.

        The session must have been made with `SessionOptions.enable_profiling`. What the runtime wrote stays where it is.
        """
        start_ns = self._inner.get_profiling_start_time_ns()
        path = Path(self._inner.end_profiling())
        if not path.is_file():
            what = "make the session with SessionOptions.enable_profiling"
            raise RuntimeError(f"{self._name}: expected a profile of ONNX Runtime, got none; {what}")
        entries = json.loads(path.read_text())
        now, offset_ns = _carnot.ticks(), _since(start_ns)
        nodes = [entry for entry in entries if entry.get("cat") == "Node" and entry["name"].endswith("_kernel_time")]
        for index_in_run, node in _numbered(nodes):
            began_ns = node["ts"] * MICROSECOND_NS - offset_ns
            took_ns = node["dur"] * MICROSECOND_NS
            name = f"{self._name}.{node['name'].removesuffix('_kernel_time')}"
            _carnot.past("onnxruntime", name, now, began_ns, took_ns, index_in_run)
        event("onnx_profile", {"model": self._name, "file": str(path), "nodes": len(nodes)})
        return len(nodes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _since(start_ns: int) -> float:
    """How long ago the runtime's clock showed `start_ns`. Which of the system's clocks it is depends on how it was built."""
    lengths = (time.time_ns() - start_ns, time.monotonic_ns() - start_ns, time.perf_counter_ns() - start_ns)
    return float(min(length for length in lengths if length >= 0))


def _numbered(nodes: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Each node with its number in the model: the same for all its runs."""
    numbers: dict[str, int] = {}
    return [(numbers.setdefault(node["name"], len(numbers)), node) for node in nodes]


def instrument_onnx(session: Any, *, name: str = "onnx") -> InstrumentedOnnx:
    """An ONNX Runtime session whose runs are stages called `name`."""
    if not hasattr(session, "run") or not hasattr(session, "get_inputs"):
        kind = type(session)
        raise TypeError(f"session: expected an onnxruntime.InferenceSession, got {kind.__module__}.{kind.__qualname__}")
    return InstrumentedOnnx(session, name)
