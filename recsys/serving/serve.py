"""Running the service: its log, its processes and its signals."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import uvicorn
from threadpoolctl import threadpool_limits

from recsys.errors import UserError
from recsys.serving.gate import SHARED
from recsys.serving.service import Limits, make_service
from recsys.serving.state import State

GRACE = 10
"""Seconds that a stopping service gives to the requests that it is answering."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
AGAIN = 1.0
"""Seconds before a worker that died is started again."""


class Options(NamedTuple):
    """What `recsys serve` is told.

    Attributes:
        bundle: folder of the bundle.
        state: folder of the log and the bundle's private copy.
        host, port: where to listen; port 0: any that is free.
        workers: processes that answer.
    """

    bundle: Path
    state: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    limits: Limits = Limits()


def tell(**line: Any) -> None:
    """One line of the log: JSON on standard error."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(json.dumps({"at": at, "pid": os.getpid(), **line}, ensure_ascii=True) + "\n")
    sys.stderr.flush()


def say(sentence: str) -> None:
    tell(level="warning", message=sentence)


def run_service(options: Options) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP takes the bundle that is then in the folder.

    Raises:
        UserError: no bundle, or an address that cannot be taken.
    """
    state = State(options.bundle, options.state, say)
    state.open()
    listener = listen(options.host, options.port)
    host, port = listener.getsockname()[:2]
    if not options.limits.token and options.host not in LOOPBACK:
        say(f"anybody who reaches {host} may ask and add interactions; give a token with --token")
    tell(level="info", message="listening", host=host, port=port, workers=options.workers)
    if options.workers == 1:
        os.environ.pop(SHARED, None)
        answer(options, listener)
    else:
        Workers(options, listener, state).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that workers may share; UserError where the address cannot be taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named for asyncio, which turns Nagle's delay off where it is TCP's: 40 ms an answer otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"cannot listen on {host}, port {port}: {error}; choose another with --port"
        ) from None
    listener.set_inheritable(True)
    return listener


def answer(options: Options, listener: socket.socket) -> None:
    """One process that answers. Its requests are many and their products small: each has one thread, for the threads of
    all of them would wait for one another (32 clients of a Confluence got 4 answers a second in place of 100)."""
    threadpool_limits(1)
    state = State(options.bundle, options.state, say)
    state.snapshot()
    app = make_service(state, options.limits, tell)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)

    async def run() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_beside, state)
        await server.serve(sockets=[listener])

    try:
        asyncio.run(run())
    except KeyboardInterrupt:  # uvicorn raises the signal again once it has stopped
        return


def reload_beside(state: State) -> threading.Thread:
    """Reload in a thread of its own, so that requests are answered meanwhile."""
    thread = threading.Thread(target=_reload, args=(state,), daemon=True)
    thread.start()
    return thread


def _reload(state: State) -> None:
    try:
        tell(level="info", message="reloaded", bundle=state.reload())
    except UserError as error:
        say(f"{error}; the old bundle is served on")


class Workers:
    """Several processes that answer at one address, started again where they die."""

    def __init__(self, options: Options, listener: socket.socket, state: State):
        self.options, self.listener, self.state = options, listener, state
        self.context = multiprocessing.get_context("spawn")
        self.stopping = threading.Event()
        shared = options.state / "meters"
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir(parents=True)
        os.environ[SHARED] = str(shared)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: reload_beside(self.state))
        processes = [self._start() for _ in range(self.options.workers)]
        while not self.stopping.wait(0.2):
            for place, process in enumerate(processes):
                if not process.is_alive():
                    say(f"worker {process.pid} ended with {process.exitcode}; another takes its place")
                    self.stopping.wait(AGAIN)
                    if not self.stopping.is_set():
                        processes[place] = self._start()
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(GRACE + 5)
            if process.is_alive():
                process.kill()

    def _start(self) -> Any:
        process = self.context.Process(target=answer, args=(self.options, self.listener))
        process.start()
        return process

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping.set()
