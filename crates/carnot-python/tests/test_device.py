"""How a device's times reach the trace, with a device whose clock the test sets: none is needed."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest
from carnot import _carnot
from carnot.instrumentation import _Call, _Device, _Layer

MILLISECOND_NS = 1_000_000


class Event:
    """As a CUDA event: its time is the device's when it is passed; intervals are 32-bit milliseconds."""

    waited = 0

    def __init__(self, device):
        self.device = device

    def record(self):
        self.time_ms = self.device.now_ms

    def query(self):
        return self.time_ms <= self.device.done_ms

    def synchronize(self):
        Event.waited += 1
        self.device.done_ms = max(self.device.done_ms, self.time_ms)

    def elapsed_time(self, later):
        return struct.unpack("f", struct.pack("f", later.time_ms - self.time_ms))[0]


class Device(SimpleNamespace):
    index = 3
    now_ms = 50.0
    done_ms = 0.0


def made():
    device = Device()
    cuda = SimpleNamespace(Event=lambda enable_timing: Event(device), synchronize=lambda _: None)
    return device, _Device(SimpleNamespace(cuda=cuda), device)


def call(device, times, layer, began_ms, took_ms):
    device.now_ms = began_ms
    under_way = _Call(layer, flops=10, bytes=20, device=times)
    under_way.began = times.mark()
    device.now_ms = began_ms + took_ms
    times.waiting.append((under_way, times.mark()))


def layer():
    return _Layer("net.0", 0, "Linear", 1, _carnot.layer("net.0", 0))


def test_times_are_told_when_the_device_has_passed_them(recorded):
    with recorded() as run:
        device, times = made()
        Event.waited = 0
        call(device, times, layer(), 51.0, 2.0)
        call(device, times, layer(), 54.0, 0.5)
        device.done_ms = 53.5
        times.resolve(is_waiting=False)
        assert len(times.waiting) == 1 and Event.waited == 0
        times.resolve(is_waiting=True)
        assert not times.waiting and Event.waited == 1
    first, second = run.spans
    assert {span["thread_name"] for span in run.spans} == {"cuda:3"} and (first["flops"], first["bytes"]) == (10, 20)
    assert first["end_ns"] - first["start_ns"] == pytest.approx(2 * MILLISECOND_NS, rel=1e-3)
    assert second["start_ns"] - first["start_ns"] == pytest.approx(3 * MILLISECOND_NS, rel=1e-3)


def test_an_hour_does_not_blur_the_times(monkeypatch):
    """An hour in 32-bit milliseconds is good to a quarter of one; told from a near anchor, steps of ten microseconds stay apart."""
    told = []

    def past(line, name, anchor, start_ns, duration_ns, index, flops, bytes):
        told.append((start_ns, duration_ns))

    monkeypatch.setattr(_carnot, "past", past)
    device, times = made()
    # Each second of the hour, and at its end two calls twenty microseconds apart.
    for second in range(1, 3600):
        call(device, times, layer(), 50.0 + second * 1000.0, 1.0)
        times.resolve(is_waiting=True)
    call(device, times, layer(), 50.0 + 3_600_000.0, 0.01)
    call(device, times, layer(), 50.0 + 3_600_000.02, 0.01)
    times.resolve(is_waiting=True)
    assert len(times.free) <= 4, "events are used again"
    (near, near_took), (last, _) = told[-2:]
    assert last - near == pytest.approx(20_000, abs=200) and near_took == pytest.approx(10_000, abs=200)
    assert near == pytest.approx(3600 * 1e9, abs=100_000)
