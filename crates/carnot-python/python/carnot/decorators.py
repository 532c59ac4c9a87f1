"""Decorators: what a function does becomes a span, a frame, a session.

Each works on plain functions, coroutine functions, generator functions and asynchronous generator functions. Of a generator each step is a span
of its own: what its consumer does between two of them is not its work.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar, overload

from . import _carnot
from .session import Session, model, session

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])
Making = Callable[..., AbstractContextManager[object]]


def wrap(span: _carnot.Span, function: Function) -> Function:
    """`function` in `span`; what `@carnot.stage("name")` does."""
    return _wrap(lambda *_, **__: span, function)


def _wrap(make: Making, function: Function) -> Function:
    """`function`, each call of it in what `make` makes of the call's arguments."""
    wrapped: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        wrapped = _async_generator(make, function)
    elif inspect.isgeneratorfunction(function):
        wrapped = _generator(make, function)
    elif inspect.iscoroutinefunction(function):
        wrapped = _coroutine(make, function)
    else:
        wrapped = _plain(make, function)
    return functools.wraps(function)(wrapped)  # type: ignore[return-value]


def _plain(make: Making, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        with make(*arguments, **named):
            return function(*arguments, **named)

    return wrapped


def _coroutine(make: Making, function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        with make(*arguments, **named):
            return await function(*arguments, **named)

    return wrapped


def _generator(make: Making, function: Callable[..., Any]) -> Callable[..., Generator[Any, Any, Any]]:
    def wrapped(*arguments: Any, **named: Any) -> Generator[Any, Any, Any]:
        generator = function(*arguments, **named)
        step: Callable[[], Any] = generator.__next__
        while True:
            try:
                with make(*arguments, **named):
                    made = step()
            except StopIteration as end:
                return end.value
            try:
                sent = yield made
                step = functools.partial(generator.send, sent)
            except GeneratorExit:
                generator.close()
                raise
            except BaseException as error:
                step = functools.partial(generator.throw, error)

    return wrapped


def _async_generator(make: Making, function: Callable[..., Any]) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def wrapped(*arguments: Any, **named: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*arguments, **named)
        step: Callable[[], Any] = generator.__anext__
        while True:
            try:
                with make(*arguments, **named):
                    made = await step()
            except StopAsyncIteration:
                return
            try:
                sent = yield made
                step = functools.partial(generator.asend, sent)
            except GeneratorExit:
                await generator.aclose()
                raise
            except BaseException as error:
                step = functools.partial(generator.athrow, error)

    return wrapped


def _decorator(
    first: Callable[..., Any] | str | None, decorate: Callable[[Callable[..., Any], str], Any]
) -> Any:
    """For use with and without parentheses: `first` is the function, its name in the recording, or nothing."""
    if callable(first):
        return decorate(first, _name(first))
    return lambda function: decorate(function, first or _name(function))


def _name(function: Callable[..., Any]) -> str:
    """Without the function that it was defined in."""
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name.rsplit("<locals>.", 1)[-1]


@overload
def profile(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def profile(name: str | None = None, /, *, items: int = 0) -> Callable[[Function], Function]: ...
def profile(name: Any = None, /, *, items: int = 0) -> Any:
    """Each call is a stage, named as the function or as given."""
    return _decorator(name, lambda function, name: wrap(_carnot.stage(name, items), function))


@overload
def profile_layer(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def profile_layer(
    name: str | None = None,
    /,
    *,
    index: int | None = None,
    parameters: int | None = None,
    flops: int = 0,
    bytes: int = 0,
) -> Callable[[Function], Function]: ...
def profile_layer(
    name: Any = None,
    /,
    *,
    index: int | None = None,
    parameters: int | None = None,
    flops: int = 0,
    bytes: int = 0,
) -> Any:
    """Each call is a layer of a model, with the least work of a call."""

    def decorate(function: Callable[..., Any], name: str) -> Any:
        span = _carnot.layer(name, index, flops, bytes)
        if parameters is None:
            return wrap(span, function)
        told: list[object] = []

        def make(*_: Any, **__: Any) -> _carnot.Span:
            # Once in each session.
            open_now = session()
            if open_now is not None and told != [open_now]:
                model(name, parameters=parameters, kind="layer")
                told[:] = [open_now]
            return span

        return _wrap(make, function)

    return _decorator(name, decorate)


class _Index:
    """The number of a call: what its parameter `name` says, or how many calls there were before it in this session."""

    def __init__(self, function: Callable[..., Any], name: str | None) -> None:
        self.name = name
        self.signature = inspect.signature(function)
        if name is not None and name not in self.signature.parameters:
            known = ", ".join(self.signature.parameters) or "none"
            raise TypeError(f"index: expected a parameter of {_name(function)} ({known}), got {name!r}")
        self.session: object = None
        self.numbers = itertools.count()

    def __call__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
        if self.name is not None:
            if self.name in named:
                return int(named[self.name])
            bound = self.signature.bind(*arguments, **named)
            bound.apply_defaults()
            return int(bound.arguments[self.name])
        if self.session is not session():
            self.session, self.numbers = session(), itertools.count()
        return next(self.numbers)


def _numbered(kind: Callable[[int, int], _carnot.Span], first: Any, index: str | None, items: int) -> Any:
    def decorate(function: Callable[..., Any], _: str) -> Any:
        number = _Index(function, index)

        def make(*arguments: Any, **named: Any) -> _carnot.Span:
            # Off, the number is of no use, and taking it would cost.
            return kind(0 if session() is None else number(arguments, named), items)

        return _wrap(make, function)

    return _decorator(first, decorate)


@overload
def profile_block(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def profile_block(
    function: None = None, /, *, index: str | None = None, items: int = 0
) -> Callable[[Function], Function]: ...
def profile_block(function: Any = None, /, *, index: str | None = None, items: int = 0) -> Any:
    """Each call makes a block of `items`. Its number is the value of the parameter that `index` names, or the running number of the call."""
    return _numbered(_carnot.block, function, index, items)


@overload
def profile_step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def profile_step(
    function: None = None, /, *, index: str | None = None, items: int = 0
) -> Callable[[Function], Function]: ...
def profile_step(function: Any = None, /, *, index: str | None = None, items: int = 0) -> Any:
    """Each call is a step. Its number is the value of the parameter that `index` names, or the running number of the call."""
    return _numbered(_carnot.step, function, index, items)


@overload
def profile_streaming(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def profile_streaming(
    name: str | None = None,
    /,
    *,
    stream: str = "video",
    measures: str = "generate",
    count: Callable[[Any], int] | int = 1,
    size: Callable[[Any], int] | None = None,
) -> Callable[[Function], Function]: ...
def profile_streaming(
    name: Any = None,
    /,
    *,
    stream: str = "video",
    measures: str = "generate",
    count: Callable[[Any], int] | int = 1,
    size: Callable[[Any], int] | None = None,
) -> Any:
    """What the function returns, or a generator yields, is a frame of a stream; how long it took is the frame's time.

    `measures` says what that time is: `generate`, `encode` or `send`. `count` gives the number of frames in what was made, `size` its bytes; where
    none is given, bytes have their length and anything else 0.
    """
    known = ("generate", "encode", "send")
    if measures not in known:
        raise ValueError(f"measures: expected one of {', '.join(known)}, got {measures!r}")

    def decorate(function: Callable[..., Any], name: str) -> Any:
        span = _carnot.stage(name)
        frames = _FrameCounter()

        def tell(made: Any, began: float) -> None:
            if session() is None:
                return
            milliseconds = (time.perf_counter() - began) * 1e3
            made_count = count if isinstance(count, int) else count(made)
            if made_count == 0:
                return
            _carnot.frame(
                frames.take(made_count),
                generate_ms=milliseconds if measures == "generate" else 0.0,
                encode_ms=milliseconds if measures == "encode" else 0.0,
                send_ms=milliseconds if measures == "send" else 0.0,
                bytes=_size(made) if size is None else size(made),
                count=made_count,
                stream=stream,
            )

        return _streaming(span, function, tell)

    return _decorator(name, decorate)


def _size(made: Any) -> int:
    return len(made) if isinstance(made, (bytes, bytearray)) else 0


class _FrameCounter:
    """Numbers the frames of a session."""

    def __init__(self) -> None:
        self.session: object = None
        self.next = 0

    def take(self, count: int) -> int:
        if self.session is not session():
            self.session, self.next = session(), 0
        first = self.next
        self.next += count
        return first


Tell = Callable[[Any, float], None]


def _streaming(span: _carnot.Span, function: Any, tell: Tell) -> Any:
    """`function` in `span`, with each thing that it makes told."""
    wrapped: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        wrapped = _async_stream(wrap(span, function), tell)
    elif inspect.isgeneratorfunction(function):
        wrapped = _stream(wrap(span, function), tell)
    elif inspect.iscoroutinefunction(function):
        wrapped = _async_frames(span, function, tell)
    else:
        wrapped = _frames(span, function, tell)
    return functools.wraps(function)(wrapped)


def _frames(span: _carnot.Span, function: Any, tell: Tell) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        with span:
            made = function(*arguments, **named)
        tell(made, began)
        return made

    return wrapped


def _async_frames(span: _carnot.Span, function: Any, tell: Tell) -> Callable[..., Any]:
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        with span:
            made = await function(*arguments, **named)
        tell(made, began)
        return made

    return wrapped


def _stream(stepped: Any, tell: Tell) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        generator = stepped(*arguments, **named)
        try:
            while True:
                began = time.perf_counter()
                try:
                    made = next(generator)
                except StopIteration as end:
                    return end.value
                tell(made, began)
                yield made
        finally:
            generator.close()

    return wrapped


def _async_stream(stepped: Any, tell: Tell) -> Callable[..., Any]:
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        generator = stepped(*arguments, **named)
        try:
            while True:
                began = time.perf_counter()
                try:
                    made = await generator.__anext__()
                except StopAsyncIteration:
                    return
                tell(made, began)
                yield made
        finally:
            await generator.aclose()

    return wrapped


@overload
def profile_session(id: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def profile_session(id: str | None = None, /, **arguments: Any) -> Callable[[Function], Function]: ...
def profile_session(id: Any = None, /, **arguments: Any) -> Any:
    """Each call is a session, with the `arguments` of `Session`. One that raises is marked as failed, and what it raised goes on."""

    def decorate(function: Callable[..., Any], name: str) -> Any:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name}: expected a function whose call is the session, got a generator function")
        return _wrap(lambda *_, **__: Session(name, **arguments), function)

    return _decorator(id, decorate)
