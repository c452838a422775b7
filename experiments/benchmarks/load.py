"""A service under load, on this machine alone: requests a second, p50, p99 and memory at 1 and 32 clients.

    python -m recsys.experiments.benchmarks.load --bundle FOLDER [--seconds 10] [--workers 1] [--clients 1,32]

Starts `recsys serve` on a free port of 127.0.0.1, asks `/recommend` for known users, top 20, from clients that each
keep one connection and wait for their answer, and stops it. Beside it, in one process without HTTP: the bundle's own
requests, and the same products in plain NumPy, a user's vector times all items' and the 20 largest, where the bundle
has vectors (random ones of width 128 where it has none).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys.serving.bundle import ServingBundle, load_bundle

K = 20
MOST_SECONDS = 60.0
"""However many are asked for."""
WARM_UP = 20
"""Requests of each kind that are not counted."""


class Service:
    """`recsys serve` as a process of its own."""

    def __init__(self, bundle: Path, state: Path, workers: int):
        command = [sys.executable, "-m", "recsys", "serve", "--bundle", str(bundle), "--state", str(state)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--workers", str(workers)], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.port = 0
        for line in self.process.stderr:
            if '"listening"' in line:
                self.port = json.loads(line)["port"]
                break
        if not self.port:
            raise SystemExit("the service did not start")
        # Its log is read on, lest it wait for a reader.
        threading.Thread(target=lambda: [None for _ in self.process.stderr or ()], daemon=True).start()

    def memory(self) -> float:
        """MiB that its processes hold, shared pages in parts."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        total = 0
        for process in [str(self.process.pid), *children]:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


async def client(port: int, bodies: list[bytes], end: float, took: list[float]) -> None:
    """Ask one request after another on one connection until `end`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while time.perf_counter() < end:
        body = bodies[number % len(bodies)]
        number += 1
        head = "POST /recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}"
        start = time.perf_counter()
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - start)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the service answered {answer.splitlines()[0]!r}")
    writer.close()


async def clients(port: int, users: list[str], count: int, seconds: float) -> list[float]:
    """Seconds of each answer."""
    bodies = [json.dumps({"user": user, "k": K}).encode() for user in users]
    took: list[float] = []
    end = time.perf_counter() + seconds
    parts = [bodies[place::count] or bodies for place in range(count)]
    await asyncio.gather(*(client(port, part, end, took) for part in parts))
    return took


def alone(ask: Callable[[int], object], seconds: float) -> list[float]:
    """Seconds of each call, one after another, in this process."""
    for number in range(WARM_UP):
        ask(number)
    took, number, end = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        ask(number)
        took.append(time.perf_counter() - start)
        number += 1
    return took


def numpy_products(bundle: ServingBundle) -> Callable[[int], object]:
    """A user's vector times all items', and the K largest."""
    part = bundle.vectors
    rng = np.random.default_rng(0)
    if part is not None:
        left, right = np.array(part.users), np.array(part.items)
    else:
        left, right = (rng.normal(size=(n, 128)).astype(np.float32) for n in (1000, bundle.n_items))

    def ask(number: int) -> object:
        scores = right @ left[number % len(left)]
        best = np.argpartition(-scores, K)[:K]
        return best[np.argsort(-scores[best])]

    return ask


def line(name: str, took: list[float], seconds: float, memory: float | None = None) -> str:
    p50, p99 = 1000 * np.percentile(took, [50, 99])
    held = "" if memory is None else f"{memory:>9.0f} MiB"
    return f"{name:>28} {len(took) / seconds:>9.0f}/s {p50:>8.2f} ms {p99:>8.2f} ms {held}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", default="1,32")
    arguments = parser.parse_args()
    seconds = min(arguments.seconds, MOST_SECONDS)
    bundle = load_bundle(arguments.bundle)
    users = [str(user) for user in np.random.default_rng(0).permutation(bundle.users.names)[:2000]]
    print(f"{bundle!r}, top {K}")
    print(f"{'':>28} {'answers':>11} {'p50':>11} {'p99':>11} {'memory':>13}")
    print(line("NumPy, products and top K", alone(numpy_products(bundle), seconds), seconds))
    ask = lambda number: bundle.rank(bundle.recipients([users[number % len(users)]]), K)  # noqa: E731
    print(line("bundle, in a process", alone(ask, seconds), seconds))
    with tempfile.TemporaryDirectory() as folder:
        service = Service(arguments.bundle, Path(folder), arguments.workers)
        try:
            asyncio.run(clients(service.port, users, 1, 1.0))
            for count in map(int, arguments.clients.split(",")):
                took = asyncio.run(clients(service.port, users, count, seconds))
                print(line(f"service, {count} clients", took, seconds, service.memory()), flush=True)
        finally:
            service.stop()


if __name__ == "__main__":
    main()
