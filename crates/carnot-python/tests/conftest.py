"""What all tests share: a session that is read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import carnot
import pytest


class Recorded:
    """Records what happens within it, and reads it back from the trace file."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        self.session = carnot.Session(output=folder, show=None, **arguments)
        self.trace: carnot.Trace

    def __enter__(self) -> Recorded:
        self.session.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        path = self.session.end(kind.__name__ if kind else None)
        assert path is not None
        self.trace = carnot.read_trace(path)
        assert self.trace["damage"] == [] and self.trace["lost"] == 0

    @property
    def spans(self) -> list[dict[str, Any]]:
        """By their beginning; of two that begin together the longer first."""
        return sorted(self.trace["spans"], key=lambda span: (span["start_ns"], -span["end_ns"]))

    def names(self) -> list[str]:
        return [span["name"] for span in self.spans]

    def span(self, name: str) -> dict[str, Any]:
        (found,) = [span for span in self.spans if span["name"] == name]
        return found

    def threads(self) -> dict[str, set[int]]:
        """For each name the lines that its spans lie on."""
        lines: dict[str, set[int]] = {}
        for span in self.spans:
            lines.setdefault(span["name"], set()).add(span["thread"])
        return lines

    def assert_nested(self) -> None:
        """Of two spans on one line either one is within the other, or they are apart."""
        by_line: dict[int, list[dict[str, Any]]] = {}
        for span in self.spans:
            enclosing = by_line.setdefault(span["thread"], [])
            while enclosing and enclosing[-1]["end_ns"] <= span["start_ns"]:
                enclosing.pop()
            if enclosing:
                assert span["end_ns"] <= enclosing[-1]["end_ns"], (enclosing[-1], span)
            enclosing.append(span)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Recorded]:
    def start(**arguments: Any) -> Recorded:
        return Recorded(tmp_path, **arguments)

    return start


@pytest.fixture(autouse=True)
def no_session_is_left() -> Any:
    yield
    left = carnot.session()
    if left is not None:
        left.end()
    assert left is None


def within(inner: dict[str, Any], outer: dict[str, Any]) -> bool:
    """Whether a span lies in another, on the same line."""
    same = inner["thread"] == outer["thread"]
    return same and outer["start_ns"] <= inner["start_ns"] and inner["end_ns"] <= outer["end_ns"]
