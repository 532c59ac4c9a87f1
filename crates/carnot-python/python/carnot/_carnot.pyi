"""The part of the package that is written in Rust."""

from collections.abc import Callable, Hashable
from os import PathLike
from types import TracebackType
from typing import Any, TypeVar, final

Function = TypeVar("Function", bound=Callable[..., Any])

@final
class Span:
    """What `with` takes: begins a span, and ends it. Can be kept, entered again within itself, and used by many threads and tasks at once."""

    def __enter__(self) -> Span: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __call__(self, function: Function) -> Function:
        """As a decorator: each call of the function is in the span."""
    def begin(self) -> None:
        """Begins a span, where `with` does not fit."""
    def end(self, flops: int = 0, bytes: int = 0, items: int = 0) -> None:
        """Ends the innermost open span of this object, with the work that it turned out to be."""
    def count(self, items: int) -> None:
        """Adds to what the innermost open span of this object counts, in the session's unit."""

def stage(name: str, items: int = 0) -> Span:
    """A stage of a pipeline; `items` are what it makes, in the session's unit. The same name gives the same object."""

def step(
    index: int, items: int = 0, *, timestep: float | None = None, guidance_scale: float | None = None
) -> Span:
    """One iteration, such as of denoising, with where it stands between noise (1) and picture (0)."""

def block(index: int, items: int = 0) -> Span:
    """A block of frames or tokens that are made together; `items` counts them, once."""

def chunk(index: int, items: int = 0) -> Span:
    """A chunk: the blocks between two looks at a pipeline's memory."""

def wait(name: str) -> Span:
    """Waiting for others, such as at a barrier or in a collective: time that is not this process's own work."""

def prompt(index: int, items: int = 0) -> Span: ...
def layer(name: str, index: int | None = None, flops: int = 0, bytes: int = 0) -> Span: ...
def is_recording() -> bool: ...
def ticks() -> int: ...
def past(
    line: str,
    name: str,
    anchor: int,
    start_ns: float,
    duration_ns: float,
    index: int | None = None,
    flops: int = 0,
    bytes: int = 0,
) -> None: ...
def counter(name: str, value: float) -> None:
    """The value of a counter or gauge, from now on."""

def instant(name: str) -> None:
    """A moment, on the line of this thread; clocks of ranks are put on each other by those whose names begin with `anchor/`."""

def frame(
    index: int,
    *,
    generate_ms: float = 0.0,
    encode_ms: float = 0.0,
    send_ms: float = 0.0,
    bytes: int = 0,
    occupancy: int | None = None,
    count: int = 1,
    prompt: int | None = None,
    stream: str | None = None,
) -> None:
    """A frame, or `count` of them from number `index`, that a stream has delivered: times in milliseconds, encoded size, frames that wait behind it."""

def drop_frames(count: int = 1, *, stream: str | None = None) -> None:
    """Frames of a stream that were given up, never to be delivered."""

def allocated(owner: str, nbytes: int, id: int = 0) -> None:
    """Memory that `owner` took; `id`, such as its address, joins it to its release."""

def released(owner: str, nbytes: int, id: int = 0) -> None:
    """Memory that `owner` gave back."""

def allocation(name: str, file: str, line: int, nbytes: int, count: int) -> None: ...
def cache_hit(name: str, key: Hashable = None, nbytes: int = 0) -> None:
    """What was asked for was in the cache. Of the key a hash is kept."""

def cache_miss(name: str, key: Hashable = None, nbytes: int = 0) -> None:
    """It was not."""

def cache_evict(name: str, key: Hashable = None, nbytes: int = 0) -> None:
    """Something was given up for room."""

def read_trace(path: str | PathLike[str]) -> dict[str, Any]: ...
@final
class Recording:
    def __init__(
        self,
        *,
        file: str | None,
        preset: str | None,
        keys: dict[str, str],
        id: str | None,
        tags: dict[str, str],
        unit: str | None,
        rank: tuple[int, int, int] | None,
        show: Callable[[str], None] | None,
    ) -> None: ...
    def end(self, failure: str | None) -> tuple[str, list[str], str] | None: ...
    def id(self) -> str | None: ...
    def path(self) -> str | None: ...
    def tag(self, key: str, value: str) -> None: ...
    def model(self, name: str, kind: str, parameters: int) -> None: ...
    def note(self, name: str, data: str) -> None: ...
    def flush(self) -> None: ...
    def status(self) -> str | None: ...
    def python_memory_seconds(self) -> float | None: ...
    def disown(self) -> None: ...

@final
class Engine:
    """A language model that runs on this machine's processors: `Engine()` has the embedded one, `Engine(path)` a GGUF file or a folder.

    Several threads may use one; their requests share its steps. Python's lock is let go while it computes.
    """

    def __init__(self, path: str | PathLike[str] | None = None, *, threads: int | None = None, context: int = 8192) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: list[str] = ...,
    ) -> Generation:
        """Continues `prompt`, and returns all of the text with what it took."""
    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: list[str] = ...,
    ) -> Pieces:
        """The same, piece by piece. Giving the iterator up cancels the request."""

@final
class Pieces:
    """A text that is being generated."""

    def __iter__(self) -> Pieces: ...
    def __next__(self) -> str: ...
    @property
    def usage(self) -> dict[str, Any] | None:
        """What it took, once it has ended."""

@final
class Generation:
    """A text that was generated, and what it took."""

    @property
    def text(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def generated_tokens(self) -> int: ...
    @property
    def usage(self) -> dict[str, Any]: ...
