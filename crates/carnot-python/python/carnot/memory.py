"""Memory of this process as Python sees it: the resident set, what `tracemalloc` traces with the lines that hold it, and PyTorch's allocator.

    print(carnot.memory.now())
    with carnot.Session("my-run", trace_python_memory=True):
        ...                          # looked at every `cpu_monitor_interval` seconds
        carnot.memory.record()       # and now

What cannot be known is `None` or absent, never 0; `Memory.notes` says why. Looking takes some bytes itself, which are left out where Python can tell them apart.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _carnot

# Lines that a look adds to those that are told of: those that hold most.
MOST_LINES = 100
_TORCH_ON_CPU = "torch has no statistics of its allocator on the CPU: what it takes there is in the resident set alone"
_NOT_TRACED = "tracemalloc is off: lines are not known; trace_python_memory=True of a session, or tracemalloc.start(), turns it on"


@dataclass(frozen=True)
class Line:
    """A line of Python that holds memory."""

    file: str
    line: int
    bytes: int
    """What it holds."""
    count: int
    """In how many pieces."""

    @property
    def text(self) -> str:
        """The line as it is written; empty where there is no source."""
        return linecache.getline(self.file, self.line).strip()


@dataclass(frozen=True)
class Traced:
    """What `tracemalloc` knows: memory that was taken through Python's allocators since it was started."""

    bytes: int
    peak_bytes: int
    own_bytes: int
    """What tracing itself takes, which is in neither."""


@dataclass(frozen=True)
class Device:
    """PyTorch's allocator on a device, such as `cuda:0`."""

    name: str
    allocated_bytes: int
    peak_allocated_bytes: int
    reserved_bytes: int
    peak_reserved_bytes: int
    retries: int
    """How often it gave back what it kept in reserve, to find room."""


@dataclass(frozen=True)
class Memory:
    """What is known at a moment."""

    resident_bytes: int | None
    """Memory of the process that is in RAM; `None` where the system does not say."""
    python: Traced | None
    """`None` where `tracemalloc` is off."""
    torch: tuple[Device, ...] = ()
    """Devices whose allocator PyTorch has statistics of."""
    notes: tuple[str, ...] = field(default=())
    """What is not known, and why."""


def resident_bytes() -> int | None:
    """Memory of the process that is in RAM, in bytes; `None` where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def traced() -> Traced | None:
    """What `tracemalloc` traces; `None` where it is off."""
    if not tracemalloc.is_tracing():
        return None
    own = tracemalloc.get_tracemalloc_memory()
    size, peak = tracemalloc.get_traced_memory()
    return Traced(size, peak, own)


def lines(most: int = 10) -> list[Line]:
    """The lines that hold most of what `tracemalloc` traces, the one with the most first; none where it is off.

    It looks at every piece of memory that is traced: some milliseconds for ten thousand of them.
    """
    if not tracemalloc.is_tracing():
        return []
    snapshot = tracemalloc.take_snapshot()
    without = [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__)]
    statistics = snapshot.filter_traces(without).statistics("lineno")
    frames = ((of.traceback[0], of) for of in statistics[:most])
    return [Line(frame.filename, frame.lineno, of.size, of.count) for frame, of in frames]


def torch_devices() -> list[Device]:
    """PyTorch's allocator on each CUDA device that the process uses; none where PyTorch was not imported or uses no device."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return []
    devices = []
    for index in range(torch.cuda.device_count()):
        told = torch.cuda.memory_stats(index)
        if not told:
            continue
        devices.append(
            Device(
                f"cuda:{index}",
                allocated_bytes=told.get("allocated_bytes.all.current", 0),
                peak_allocated_bytes=told.get("allocated_bytes.all.peak", 0),
                reserved_bytes=told.get("reserved_bytes.all.current", 0),
                peak_reserved_bytes=told.get("reserved_bytes.all.peak", 0),
                retries=told.get("num_alloc_retries", 0),
            )
        )
    return devices


def now() -> Memory:
    """What is known at this moment, without the lines, which take longer."""
    python, devices = traced(), torch_devices()
    notes = []
    if python is None:
        notes.append(_NOT_TRACED)
    if "torch" in sys.modules and not devices:
        notes.append(_TORCH_ON_CPU)
    return Memory(resident_bytes(), python, tuple(devices), tuple(notes))


def record() -> Memory:
    """Puts what is known now into the open session: values over time, and the lines that hold memory as places that allocate."""
    found = now()
    if not _carnot.is_recording():
        return found
    if found.resident_bytes is not None:
        _carnot.counter("process/resident_bytes", found.resident_bytes)
    if found.python is not None:
        _carnot.counter("python/traced_bytes", found.python.bytes)
        _carnot.counter("python/traced_peak_bytes", found.python.peak_bytes)
        _carnot.counter("python/tracing_bytes", found.python.own_bytes)
        _told.tell(lines(sys.maxsize))
    for device in found.torch:
        # The two together are a pool, whose fragmentation the report tells.
        _carnot.counter(f"torch/{device.name}/allocated_bytes", device.allocated_bytes)
        _carnot.counter(f"torch/{device.name}/reserved_bytes", device.reserved_bytes)
        _carnot.counter(f"torch/{device.name}/retries", device.retries)
    return found


class _Told:
    """What a session has been told that each line holds: a trace has what was taken and given back, and not what is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, int], tuple[int, int]] = {}

    def forget(self) -> None:
        with self._lock:
            self._lines.clear()

    def tell(self, held: list[Line]) -> None:
        """`held` are all lines, the one that holds most first; the first of them are told of, and those that ever were."""
        with self._lock:
            here = {(line.file, line.line): (line.bytes, line.count) for line in held}
            first = [(line.file, line.line) for line in held[:MOST_LINES]]
            for place in dict.fromkeys([*first, *self._lines]):
                (is_bytes, is_count), (was_bytes, was_count) = here.get(place, (0, 0)), self._lines.get(place, (0, 0))
                if is_bytes != was_bytes:
                    file, number = place
                    name = linecache.getline(file, number).strip()[:80] or os.path.basename(file)
                    _carnot.allocation(name, _shown(file), number, is_bytes - was_bytes, max(0, is_count - was_count))
                self._lines[place] = (is_bytes, is_count)


_told = _Told()


def _shown(file: str) -> str:
    """A path as it says something elsewhere: from `site-packages`, or the working folder, on."""
    for folder in (f"{os.sep}site-packages{os.sep}", f"{os.sep}lib{os.sep}python"):
        if folder in file:
            return file.split(folder, 1)[1]
    here = os.getcwd() + os.sep
    return file.removeprefix(here)


class Watch:
    """Records every so many seconds while a session is open. It turns `tracemalloc` on where it is off, and off again at the end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._turned_on = False
        self._thread = threading.Thread(target=self._run, name="carnot memory", daemon=True)

    def start(self) -> Watch:
        """Begins."""
        _told.forget()
        self._turned_on = not tracemalloc.is_tracing()
        if self._turned_on:
            tracemalloc.start()
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            record()

    def end(self) -> Memory:
        """Records once more, and ends."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        last = record()
        if self._turned_on:
            tracemalloc.stop()
        return last
