"""Profile any inference pipeline, and see the limit beside every figure.

    import carnot

    with carnot.Session("my-run", unit="frames"):
        with carnot.stage("text_encoding"):
            ...
        for index in range(7):
            with carnot.block(index, items=3):
                for step in range(4):
                    with carnot.step(step):
                        ...

Outside of a session everything here does nothing, in some tens of nanoseconds.
"""

from . import memory
from ._carnot import (
    Span,
    allocated,
    block,
    cache_evict,
    cache_hit,
    cache_miss,
    chunk,
    counter,
    drop_frames,
    frame,
    instant,
    released,
    stage,
    step,
    wait,
)
from .decorators import (
    profile,
    profile_block,
    profile_layer,
    profile_session,
    profile_step,
    profile_streaming,
)
from .instrumentation import Handle, instrument
from .onnx import InstrumentedOnnx, instrument_onnx
from .session import Session, event, model, session, session_id, summary
from .spans import layer, prompt
from .trace import Trace, read_trace

try:
    from ._carnot import Engine, Generation
except ImportError:  # Built without the feature `engine`.
    pass

__all__ = [
    "Engine",
    "Generation",
    "Handle",
    "InstrumentedOnnx",
    "Session",
    "Span",
    "Trace",
    "allocated",
    "block",
    "cache_evict",
    "cache_hit",
    "cache_miss",
    "chunk",
    "counter",
    "drop_frames",
    "event",
    "frame",
    "instant",
    "instrument",
    "instrument_onnx",
    "layer",
    "memory",
    "model",
    "profile",
    "profile_block",
    "profile_layer",
    "profile_session",
    "profile_step",
    "profile_streaming",
    "prompt",
    "read_trace",
    "released",
    "session",
    "session_id",
    "stage",
    "step",
    "summary",
    "wait",
]
if "Engine" not in globals():
    __all__ = [name for name in __all__ if name not in ("Engine", "Generation")]
