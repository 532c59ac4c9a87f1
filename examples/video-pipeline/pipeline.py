"""A streaming video pipeline, small and real, that is profiled by Carnot: the twin of the Rust program beside it.

    prompts -> agent (the embedded language model) -> memory bank -> denoising -> decoding -> encoding -> delivery

Needs the packages `carnot` and `numpy`. Numbers come from seeds, times from work: nothing sleeps to look busy.
"""

from __future__ import annotations

import argparse
import os
import queue
import socket
import struct
import sys
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The products of matrices here are so small that numpy's threads would wait for each other longer than they compute; it asks once,
# when it is imported.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import carnot
import numpy as np

PROMPTS = [
    "a lighthouse in a storm",
    "the same lighthouse at dawn, the sea calm",
    "a fishing boat that leaves the harbour",
    "gulls over the boat, the town far behind",
]
FAULTS = ["leak", "thrash", "drops", "slow-layer", "slow-rank"]
# A latent has so many positions a row, and numbers a position; a frame is eight times as wide.
SIDE, CHANNELS = 16, 16
LAYERS, SLOW = 6, 3
FRAMES = 3
# A block asks for the frames of the first block of its prompt, and of the two blocks before it.
ASKED_FOR = 3 * FRAMES
# The first two chunks of a prompt have nothing to remember.
FIRST_THAT_REMEMBERS = 2
# Frames that wait for delivery at most.
ROOM = 12


class Convolution:
    """A convolution of 3 by 3 positions, as one product of matrices; pictures are arrays of frames, rows, columns, channels."""

    def __init__(self, inputs: int, outputs: int, seed: int) -> None:
        scale = np.sqrt(3.0 / (9 * inputs))
        dice = np.random.default_rng(seed)
        self.weights = (scale * dice.uniform(-1, 1, (9 * inputs, outputs))).astype(np.float32)

    def work(self, pictures: np.ndarray) -> tuple[int, int]:
        """Arithmetic operations, and bytes that must be moved."""
        positions = pictures.size // pictures.shape[-1]
        outputs = self.weights.shape[1]
        return 2 * positions * self.weights.size, 4 * (self.weights.size + pictures.size + positions * outputs)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        frames, rows, columns, channels = pictures.shape
        padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)))
        around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        patches = around.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * channels)
        return (patches @ self.weights).reshape(frames, rows, columns, -1)


def normalized(pictures: np.ndarray) -> np.ndarray:
    """Each frame scaled so that the mean of its squares is 1."""
    squares = np.mean(pictures * pictures, axis=(1, 2, 3), keepdims=True)
    return pictures / np.sqrt(squares + 1e-6)


def spread_out(pictures: np.ndarray) -> np.ndarray:
    """Twice as wide and high, of a quarter of the channels: those of a position become two by two positions (Shi and others, 2016)."""
    frames, rows, columns, channels = pictures.shape
    quarters = pictures.reshape(frames, rows, columns, 2, 2, channels // 4)
    return quarters.transpose(0, 1, 3, 2, 4, 5).reshape(frames, 2 * rows, 2 * columns, channels // 4)


class Denoiser:
    """Noise becomes the latents of a block in a few steps through a residual network."""

    def __init__(self, has_slow_layer: bool) -> None:
        self.layers = [Convolution(CHANNELS, CHANNELS, 10 + index) for index in range(LAYERS)]
        self.names = [f"denoiser.{index}" for index in range(LAYERS)]
        self.has_slow_layer = has_slow_layer
        carnot.model("denoiser", parameters=sum(layer.weights.size for layer in self.layers), kind="convolutional")

    def denoise(self, latents: np.ndarray, condition: np.ndarray, steps: int) -> np.ndarray:
        for step in range(steps):
            with carnot.step(step, timestep=1 - step / steps):
                clean = latents + 0.1 * condition
                for index in range(LAYERS):
                    clean = self.layer(index, clean)
                # What remains of the noise is taken out evenly by the steps that remain.
                latents = latents + (clean - latents) / (steps - step)
        return latents

    def layer(self, index: int, latents: np.ndarray) -> np.ndarray:
        layer = self.layers[index]
        flops, moved = layer.work(latents)
        with carnot.layer(self.names[index], index, flops=flops, bytes=moved):
            clean = self.residual(layer, latents)
            if self.has_slow_layer and index == SLOW:
                # The fault: 30 % of the work is done twice, and nothing is said of it.
                layer(latents[:, : -(-3 * SIDE // 10)])
        return clean

    @staticmethod
    def residual(layer: Convolution, latents: np.ndarray) -> np.ndarray:
        change = layer(latents)
        return normalized(latents + change / (1 + np.abs(change)))


class MemoryBank:
    """Features of earlier frames, which the next block is drawn towards. It keeps those that were asked for last."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.projection = Convolution(CHANNELS, CHANNELS, 2)
        self.entries: OrderedDict[int, np.ndarray] = OrderedDict()

    def recall(self, history: Iterable[tuple[int, np.ndarray]], latents: np.ndarray) -> np.ndarray:
        total, likenesses = np.zeros_like(latents[:1]), 0.0
        for frame, latent in history:
            features = self.features(frame, latent)
            likeness = float(np.exp(np.mean(features * latents[:1])))
            total, likenesses = total + likeness * features, likenesses + likeness
        return normalized(latents + 0.2 * total / likenesses)

    def features(self, frame: int, latent: np.ndarray) -> np.ndarray:
        found = self.entries.get(frame)
        if found is not None:
            carnot.cache_hit("memory_bank", frame, found.nbytes)
            self.entries.move_to_end(frame)
            return found
        if len(self.entries) == self.capacity:
            oldest, features = self.entries.popitem(last=False)
            carnot.cache_evict("memory_bank", oldest, features.nbytes)
            carnot.released("memory_bank", features.nbytes, oldest)
        found = self.projection(latent[None])
        carnot.cache_miss("memory_bank", frame, found.nbytes)
        carnot.allocated("memory_bank", found.nbytes, frame)
        self.entries[frame] = found
        return found


class Decoder:
    """A latent becomes a frame eight times as wide, in three convolutions each of which makes four positions of one."""

    def __init__(self) -> None:
        widths = [CHANNELS, 12, 8, 3]
        self.layers = [Convolution(wide, 4 * next_wide, 20 + wide) for wide, next_wide in zip(widths, widths[1:])]
        carnot.model("vae", parameters=sum(layer.weights.size for layer in self.layers), kind="convolutional")

    def decode(self, latent: np.ndarray) -> np.ndarray:
        picture = latent[None]
        for layer, name in zip(self.layers, ("vae.low", "vae.middle", "vae.high")):
            flops, moved = layer.work(picture)
            with carnot.layer(name, flops=flops, bytes=moved):
                picture = normalized(spread_out(layer(picture)))
        return (255 / (1 + np.exp(-2 * picture[0]))).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """PNG (ISO/IEC 15948): each byte less that of the pixel to the left, deflated."""
    rows, columns, _ = pixels.shape
    left = np.zeros_like(pixels)
    left[:, 1:] = pixels[:, :-1]
    filtered = np.ones((rows, 1 + 3 * columns), np.uint8)
    filtered[:, 1:] = (pixels - left).reshape(rows, -1)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    data = zlib.compress(filtered.tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class Delivery:
    """A bounded queue, and behind it a thread that writes frames or shows them. A frame that finds no room is dropped."""

    def __init__(self, sink: Callable[[int, bytes], None], drops_one_in: int | None) -> None:
        self.sink, self.drops_one_in = sink, drops_one_in
        self.queue: queue.Queue[tuple[int, int, float, float, bytes] | None] = queue.Queue(ROOM)
        self.failure: OSError | None = None
        self.thread = threading.Thread(target=self.deliver, name="delivery")
        self.thread.start()

    def offer(self, index: int, prompt: int, generate_ms: float, encode_ms: float, file: bytes) -> None:
        if self.drops_one_in and index % self.drops_one_in == self.drops_one_in - 1:
            carnot.drop_frames()
            return
        try:
            self.queue.put_nowait((index, prompt, generate_ms, encode_ms, file))
        except queue.Full:
            carnot.drop_frames()

    def deliver(self) -> None:
        while (item := self.queue.get()) is not None:
            index, prompt, generate_ms, encode_ms, file = item
            occupancy, begun = self.queue.qsize(), time.perf_counter()
            try:
                self.sink(index, file)
            except OSError as error:
                self.failure = error
                continue
            send_ms = 1e3 * (time.perf_counter() - begun)
            carnot.frame(
                index,
                generate_ms=generate_ms,
                encode_ms=encode_ms,
                send_ms=send_ms,
                bytes=len(file),
                occupancy=occupancy,
                prompt=prompt,
            )

    def finish(self) -> None:
        self.queue.put(None)
        self.thread.join()
        if self.failure is not None:
            raise self.failure


class Viewer:
    """A page on this machine that shows the newest frame: the browser replaces the picture with each part of an answer that does not end."""

    PAGE = (
        b"<!doctype html><title>video pipeline</title>"
        b"<body style='margin:0;background:#111;display:grid;place-items:center;height:100vh'>"
        b"<img src='/film' style='width:min(80vw,80vh);image-rendering:pixelated' alt='the newest frame'>"
    )

    def __init__(self, port: int) -> None:
        self.newest: tuple[int, bytes] = (-1, b"")
        self.changed = threading.Condition()
        viewer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                if self.path != "/film":
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                    self.wfile.write(viewer.PAGE)
                    return
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                self.wfile.write(b"--frame\r\n")
                shown = -1
                while True:
                    with viewer.changed:
                        viewer.changed.wait_for(lambda: viewer.newest[0] > shown)
                        shown, file = viewer.newest
                    head = f"Content-Type: image/png\r\nContent-Length: {len(file)}\r\n\r\n".encode()
                    try:
                        # The boundary that ends a part makes the browser show it.
                        self.wfile.write(head + file + b"\r\n--frame\r\n")
                    except OSError:
                        return

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        print(f"the film is at http://127.0.0.1:{server.server_port}", file=sys.stderr)
        threading.Thread(target=server.serve_forever, name="viewer", daemon=True).start()

    def __call__(self, index: int, file: bytes) -> None:
        with self.changed:
            self.newest = (index, file)
            self.changed.notify_all()


class Barrier:
    """All ranks wait for each other: rank 0 hears from everyone, then tells everyone. One that dies is waited for no more."""

    def __init__(self, rank: int, world_size: int, port: int) -> None:
        self.is_first, self.passed = rank == 0, 0
        self.peers: list[socket.socket] = []
        if rank == 0:
            with socket.create_server(("127.0.0.1", port)) as server:
                server.settimeout(60)
                self.peers = [server.accept()[0] for _ in range(world_size - 1)]
        else:
            self.peers = [self.reach(port)]
        for peer in self.peers:
            peer.settimeout(None)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @staticmethod
    def reach(port: int) -> socket.socket:
        begun = time.monotonic()
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:
                if time.monotonic() - begun > 60:
                    raise
                # Nothing tells when another process begins to listen.
                time.sleep(0.02)

    def wait(self) -> None:
        with carnot.wait("barrier"):
            if self.is_first:
                self.peers = [peer for peer in self.peers if self.hears(peer)]
                self.peers = [peer for peer in self.peers if self.tells(peer)]
            else:
                self.peers = [peer for peer in self.peers if self.tells(peer) and self.hears(peer)]
        # All passed this together: clocks are put on each other by it. Those that are alone pass nothing together.
        if self.peers:
            carnot.instant(f"anchor/barrier {self.passed}")
        self.passed += 1

    @staticmethod
    def hears(peer: socket.socket) -> bool:
        try:
            return peer.recv(1) != b""
        except OSError:
            return False

    @staticmethod
    def tells(peer: socket.socket) -> bool:
        try:
            peer.sendall(b"\0")
        except OSError:
            return False
        return True


def condition(text: str) -> np.ndarray:
    """A text as a few numbers: how often its letters fall into each of some heaps."""
    heaps = np.zeros(CHANNELS, np.float32)
    letters = text.encode()
    for at, letter in enumerate(letters):
        heaps[(letter + 7 * at) % CHANNELS] += 1
    return heaps - len(letters) / CHANNELS


class Pipeline:
    """Prompts in, frames out, and a span around everything that takes time."""

    def __init__(self, options: argparse.Namespace, rank: int, world_size: int) -> None:
        self.options = options
        is_last = world_size > 1 and rank + 1 == world_size
        self.steps = options.steps * (3 if options.fault == "slow-rank" and is_last else 1)
        self.barrier = Barrier(rank, world_size, int(os.environ["MASTER_PORT"])) if world_size > 1 else None
        self.agent = carnot.Engine(context=256, threads=1 if world_size > 1 else None)
        carnot.model(self.agent.name, parameters=self.agent.parameters, kind="llm")
        self.denoiser = Denoiser(options.fault == "slow-layer")
        self.bank = MemoryBank(ASKED_FOR - (options.fault == "thrash"))
        self.decoder = Decoder()
        self.delivery = Delivery(self.sink(rank), 20 if options.fault == "drops" else None)
        # Each rank makes a film of its own.
        self.dice = np.random.default_rng(1000 + rank)
        self.frames = 0
        self.kept: list[bytes] = []

    def sink(self, rank: int) -> Callable[[int, bytes], None]:
        if self.options.view is not None:
            return Viewer(self.options.view)
        folder = Path(self.options.output) / f"frames_{rank}"
        folder.mkdir(parents=True, exist_ok=True)

        def write(index: int, file: bytes) -> None:
            (folder / f"{index:06}.png").write_bytes(file)

        return write

    def prompt(self, index: int) -> None:
        text = PROMPTS[index % len(PROMPTS)]
        history: list[tuple[int, np.ndarray]] = []
        # The outermost span that counts is what counts: the tokens that the agent tells of are no frames.
        with carnot.prompt(index, text, items=self.options.blocks * FRAMES):
            for chunk in range(self.options.blocks):
                begun = time.perf_counter()
                with carnot.stage("diffusion"):
                    if chunk == 0:
                        with carnot.stage("llm_agent"):
                            request = f'# A film about {text}. What is seen:\nscene = "'
                            steering = condition(self.agent.generate(request, max_tokens=12).text)
                    latents = self.chunk(chunk, steering, history)
                self.show(index, latents, 1e3 * (time.perf_counter() - begun) / FRAMES)
                history.extend(enumerate(latents, self.frames - FRAMES + 1))
                # What nobody asks for any more is forgotten.
                if len(history) > ASKED_FOR:
                    del history[FRAMES : -2 * FRAMES]
                if self.barrier is not None:
                    self.barrier.wait()
                print(f"prompt {index} block {chunk}", file=sys.stderr, flush=True)

    def chunk(self, index: int, steering: np.ndarray, history: list[tuple[int, np.ndarray]]) -> np.ndarray:
        with carnot.chunk(index):
            latents = self.dice.uniform(-1, 1, (FRAMES, SIDE, SIDE, CHANNELS)).astype(np.float32)
            if index >= FIRST_THAT_REMEMBERS and not self.options.without_memory_bank:
                with carnot.stage("memory_bank"):
                    latents = self.bank.recall(history[:FRAMES] + history[-2 * FRAMES :], latents)
            with carnot.block(index, items=FRAMES):
                latents = self.denoiser.denoise(latents, steering, self.steps)
                if self.options.fault == "leak":
                    self.kept.append(latents.tobytes()[:1024])
                    carnot.allocated("kept_of_blocks", 1024, len(self.kept))
        return latents

    def show(self, prompt: int, latents: np.ndarray, generate_ms: float) -> None:
        """Decodes, encodes and delivers the frames of a block."""
        decoded = []
        with carnot.stage("vae_decoding"):
            for latent in latents:
                begun = time.perf_counter()
                pixels = self.decoder.decode(latent)
                decoded.append((pixels, generate_ms + 1e3 * (time.perf_counter() - begun)))
        with carnot.stage("encoding"):
            for pixels, made_ms in decoded:
                begun = time.perf_counter()
                file = png(pixels)
                self.delivery.offer(self.frames, prompt, made_ms, 1e3 * (time.perf_counter() - begun), file)
                self.frames += 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2, help="prompts, one after the other")
    parser.add_argument("--blocks", type=int, default=7, help="blocks of three frames for each prompt")
    parser.add_argument("--steps", type=int, default=4, help="steps of denoising for each block")
    parser.add_argument("--without-memory-bank", action="store_true", help="makes each block without looking at earlier frames")
    parser.add_argument("--fault", choices=FAULTS, help="plants a fault that the report has to find")
    parser.add_argument("--output", default="profiling_reports", help="the folder for the trace, the reports and the frames")
    parser.add_argument("--view", type=int, nargs="?", const=0, metavar="PORT", help="shows frames on a page of this machine")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    tags = {"memory_bank": "off" if options.without_memory_bank else "on", "fault": options.fault or "none"}
    with carnot.Session("video-pipeline", tags=tags, unit="frames", output=options.output, show=None) as session:
        with carnot.stage("initialization"):
            pipeline = Pipeline(options, rank, world_size)
        try:
            for index in range(options.prompts):
                pipeline.prompt(index)
        finally:
            with carnot.stage("flushing"):
                pipeline.delivery.finish()
    print(session.report)
    for file in session.files:
        print(file)


if __name__ == "__main__":
    main()
