"""The session: from when a pipeline begins to be recorded to the file that is left of it."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from . import _carnot, memory

# Variables such as CARNOT_PROFILING_ENABLED=false set keys of the configuration.
PREFIX = "CARNOT_PROFILING_"

# Called before a session ends, by those who have something to tell yet.
before_end: list[Callable[[], None]] = []

_lock = threading.RLock()
_open: Session | None = None


def session() -> Session | None:
    """The session that is open in this process."""
    return _open


def event(name: str, data: Mapping[str, Any] | None = None) -> None:
    """Notes a moment, with whatever belongs to it that JSON can hold; what it cannot is noted as text."""
    if _open is not None:
        _open.event(name, data)


def model(name: str, *, parameters: int, kind: str = "") -> None:
    """Says that a model takes part, and how many numbers it has learnt."""
    if _open is not None:
        _open.model(name, parameters=parameters, kind=kind)


def summary() -> dict[str, Any] | None:
    """What is known so far of the open session: stages, frames, counters, what was lost."""
    return None if _open is None else _open.summary()


def session_id(prompt: str) -> str:
    """A name for the session of a prompt: eight digits of its hash, and the time in seconds since 1970."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:8]
    return f"{digest}_{int(time.time())}"


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _rank(environment: Mapping[str, str]) -> tuple[int, int, int] | None:
    """What launchers such as torchrun say of this process; `None` where nothing does, or there is no other."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    numbers = []
    for name in names:
        text = environment.get(name, environment["RANK"])
        if not text.isdecimal():
            raise ValueError(f"environment variable {name}: expected a number, got {text!r}")
        numbers.append(int(text))
    rank, world_size, local_rank = numbers
    if rank >= world_size:
        raise ValueError(f"environment variable RANK: expected less than WORLD_SIZE, {world_size}, got {rank}")
    return rank, world_size, local_rank


class Session:
    """A recording of this process, from `start` to `end`, or as long as `with` lasts.

    `id` names it, `tags` are to find it by, `unit` is what the pipeline makes (`frames`, `tokens`), `output` is the folder for its
    files. `config` is a file in YAML or TOML, `preset` one of `development`, `production` and `debugging`, and any other argument a key of the
    configuration, which counts more than the file. `prompt` makes a name and tags of a prompt. `show` is called with the live line.

    There is one at a time: starting another ends the open one, with a warning.
    """

    def __init__(
        self,
        id: str | None = None,
        *,
        tags: Mapping[str, object] | None = None,
        unit: str | None = None,
        output: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        preset: str | None = None,
        prompt: str | None = None,
        show: Callable[[str], None] | None = _show,
        **keys: Any,
    ) -> None:
        self._tags = {key: str(value) for key, value in (tags or {}).items()}
        if prompt is not None:
            id = id if id is not None else session_id(prompt)
            self._tags = {"prompt": prompt, "prompt_length": str(len(prompt)), **self._tags}
        if config is not None and preset is not None:
            raise ValueError("config, preset: expected one of them, got both")
        self._id, self._unit, self._config, self._preset = id, unit, config, preset
        self._show = show
        self._keys = dict(keys)
        if output is not None:
            self._keys["output_dir"] = os.fspath(output)
        self._recording: _carnot.Recording | None = None
        self._watch: memory.Watch | None = None
        self.trace: Path | None = None
        """The trace file, once the session has ended; `None` where recording was off."""
        self.files: list[Path] = []
        """Reports that were written at the end, and the trace if it was kept."""
        self.report: str | None = None
        """The report for a terminal, once the session has ended."""

    @classmethod
    def from_config(cls, path: str | os.PathLike[str], **arguments: Any) -> Session:
        """A session as the file at `path` describes it; `arguments` are those of `Session`."""
        return cls(config=path, **arguments)

    @property
    def id(self) -> str | None:
        """Its name; `None` before it starts if none was given."""
        return self._id

    @property
    def is_open(self) -> bool:
        """Whether it has started and not ended."""
        return self._recording is not None

    def start(self) -> Session:
        """Begins to record."""
        global _open
        with _lock:
            if self._recording is not None:
                raise RuntimeError(f"session {self._id} is open")
            if _open is not None:
                what = f"session {_open.id} was open and has been ended, because {self._id or 'another'} starts"
                warnings.warn(what, RuntimeWarning, stacklevel=2)
                _open.end()
            self.trace, self.files, self.report = None, [], None
            self._recording = _carnot.Recording(
                file=None if self._config is None else os.fspath(self._config),
                preset=self._preset,
                keys=self._all_keys(os.environ),
                id=self._id,
                tags=self._tags,
                unit=self._unit,
                rank=_rank(os.environ),
                show=self._show,
            )
            self._id = self._recording.id()
            _open = self
            seconds = self._recording.python_memory_seconds()
            self._watch = None if seconds is None else memory.Watch(seconds).start()
        return self

    def _all_keys(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Every key that is set beside the file's, with its value as JSON or text; arguments count more than the environment."""
        keys = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
        for key, value in self._keys.items():
            keys[key] = value if isinstance(value, str) else json.dumps(value)
        return keys

    def end(self, failure: BaseException | str | None = None) -> Path | None:
        """Ends the recording, as failed where `failure` says by what; returns the trace file, `None` where there is none."""
        global _open
        if _open is self:
            for tell in list(before_end):
                tell()
        watch, self._watch = self._watch, None
        if watch is not None:
            last = watch.end()
            self.event("memory", {"notes": last.notes})
        with _lock:
            recording, self._recording = self._recording, None
            if recording is None:
                return self.trace
            if _open is self:
                _open = None
        if isinstance(failure, BaseException):
            failure = type(failure).__name__
        ended = recording.end(failure)
        if ended is not None:
            path, files, self.report = ended
            self.trace, self.files = Path(path), [Path(file) for file in files]
        return self.trace

    def __enter__(self) -> Session:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(None if kind is None else kind.__name__)

    def tag(self, key: str, value: object) -> None:
        """A tag more, or another value for it."""
        if self._recording is not None:
            self._recording.tag(key, str(value))

    def event(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Notes a moment, with whatever belongs to it."""
        if self._recording is not None:
            self._recording.note(name, json.dumps(data or {}, default=str, allow_nan=False))

    def model(self, name: str, *, parameters: int, kind: str = "") -> None:
        """Says that a model takes part; one of the same name is replaced."""
        if self._recording is not None:
            self._recording.model(name, kind, parameters)

    def flush(self) -> None:
        """Returns when what was recorded so far is in the file."""
        if self._recording is not None:
            self._recording.flush()

    def summary(self) -> dict[str, Any] | None:
        """What is known so far, up to a tenth of a second ago: stages with their count and seconds, frames, counters, what was lost."""
        status = None if self._recording is None else self._recording.status()
        return None if status is None else json.loads(status)

    def __repr__(self) -> str:
        return f"carnot.Session({self._id!r}, {'open' if self.is_open else 'not open'})"


@atexit.register
def _end_open() -> None:
    """A pipeline that ends without ending its session loses nothing."""
    if _open is not None:
        _open.end()


def _after_fork() -> None:
    """A forked process has the parent's session, and not the thread that writes it down."""
    global _open, _lock
    _lock = threading.RLock()
    if _open is not None and _open._recording is not None:
        _open._recording.disown()
        _open._recording = _open._watch = None
    _open = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
