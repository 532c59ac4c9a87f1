"""Runs the pipeline on four ranks of this machine, as `torchrun` would, and merges their traces.

    python four_ranks.py                              the Python twin
    python four_ranks.py --program PATH/video-pipeline   the Rust twin
    python four_ranks.py --fault slow-rank            what is not known here is the pipeline's
    python four_ranks.py --kill 2                     rank 2 dies in the middle; its trace is read all the same
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def carnot_program() -> str:
    """The one of this checkout, else the one that is installed."""
    for profile in ("release", "debug"):
        built = HERE.parents[1] / "target" / profile / "carnot"
        if built.exists():
            return str(built)
    return shutil.which("carnot") or sys.exit("carnot: not built and not installed; `cargo build --release`, or name it with --carnot")


def start(command: list[str], rank: int, world_size: int, port: int, errors: IO[str] | int) -> subprocess.Popen[str]:
    launcher = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return subprocess.Popen(command, env={**os.environ, **launcher}, stdout=subprocess.DEVNULL, stderr=errors, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help="a program to run in place of pipeline.py")
    parser.add_argument("--carnot", help="the program carnot")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--kill", type=int, metavar="RANK", help="kills this rank after half of its blocks")
    parser.add_argument("--output", help="an empty folder for the traces; a new one if none is named")
    options, rest = parser.parse_known_args()
    if options.kill is not None and not 0 <= options.kill < options.ranks:
        parser.error(f"--kill: expected a rank below {options.ranks}, got {options.kill}")

    folder = options.output or tempfile.mkdtemp(prefix="four_ranks_")
    program = [options.program] if options.program else [sys.executable, str(HERE / "pipeline.py")]
    sizes = ["--prompts", str(options.prompts), "--blocks", str(options.blocks)]
    command = [*program, *sizes, "--output", folder, *rest]
    port = free_port()
    logs = [Path(folder) / f"rank_{rank}.log" for rank in range(options.ranks)]
    Path(folder).mkdir(parents=True, exist_ok=True)
    ranks = []
    for rank, log in enumerate(logs):
        errors = subprocess.PIPE if rank == options.kill else log.open("w")
        ranks.append(start(command, rank, options.ranks, port, errors))
    if options.kill is not None:
        dies = ranks[options.kill]
        assert dies.stderr is not None
        # Each block is told by a line.
        for _ in range(options.prompts * options.blocks // 2):
            dies.stderr.readline()
        dies.kill()
    codes = [process.wait() for process in ranks]
    failed = [rank for rank, code in enumerate(codes) if code != 0 and rank != options.kill]
    if failed:
        sys.exit("\n".join(f"rank {rank} failed with {codes[rank]}:\n{logs[rank].read_text()}" for rank in failed))
    merged = [options.carnot or carnot_program(), "profile", "merge", folder, "--emit", "perfetto"]
    print(f"traces are in {folder}", file=sys.stderr)
    sys.exit(subprocess.run(merged).returncode)


if __name__ == "__main__":
    main()
