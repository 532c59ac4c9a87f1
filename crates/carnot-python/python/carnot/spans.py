"""Spans that say more than their number: the text of a prompt, the parameters of a layer."""

from __future__ import annotations

from . import _carnot
from .session import event, model


def prompt(index: int, text: str | None = None, *, items: int = 0) -> _carnot.Span:
    """All that is done for prompt `index`; its `text`, where given, is noted."""
    if text is not None:
        event("prompt", {"index": index, "text": text})
    return _carnot.prompt(index, items)


def layer(
    name: str,
    index: int | None = None,
    *,
    parameters: int | None = None,
    flops: int | None = None,
    bytes: int | None = None,
) -> _carnot.Span:
    """A layer of a model, with its least work: arithmetic operations (a multiplication and its addition are two), and bytes moved."""
    if parameters is not None:
        model(name, parameters=parameters, kind="layer")
    return _carnot.layer(name, index, flops or 0, bytes or 0)
