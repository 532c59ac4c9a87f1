"""Trace files, read back as plain Python."""

from __future__ import annotations

import json
import os
from typing import Any, TypedDict

from . import _carnot


class Trace(TypedDict):
    """What is in a trace file. Times are nanoseconds from its start."""

    session: dict[str, Any]
    notes: list[dict[str, Any]]
    spans: list[dict[str, Any]]
    counters: list[dict[str, Any]]
    instants: list[dict[str, Any]]
    memory: list[dict[str, Any]]
    allocations: list[dict[str, Any]]
    cache: list[dict[str, Any]]
    frames: list[dict[str, Any]]
    flows: list[dict[str, Any]]
    lost: int
    damage: list[str]
    length_ns: int
    start_unix_ns: int


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """Reads a trace file: every span and event as a dictionary. `carnot profile open` shows the same file."""
    trace = _carnot.read_trace(os.fspath(path))
    trace["session"] = json.loads(trace["session"])
    trace["notes"] = json.loads(trace["notes"])
    return trace  # type: ignore[return-value]
