"""The service as a process of its own: kill and restart, reload while it answers, several workers. Loopback only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")

import recsys

STARTED = 60.0
"""Seconds that a process may take to listen."""


class Process:
    """`recsys serve` on a free port."""

    def __init__(self, bundle, state, workers=1, code=("-m", "recsys")):
        command = [
            sys.executable,
            *code,
            "serve",
            "--bundle",
            bundle,
            "--state",
            state,
            "--port",
            "0",
        ]
        self.lines, self.port = [], 0
        self.process = subprocess.Popen(
            [*map(str, command), "--workers", str(workers)], stderr=subprocess.PIPE, text=True, env=os.environ
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        end = time.monotonic() + STARTED
        while time.monotonic() < end and not self._answers():
            assert self.process.poll() is None, self.lines
            time.sleep(0.1)

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if '"listening"' in line:
                self.port = json.loads(line)["port"]

    def _answers(self):
        try:
            return bool(self.port) and self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path):
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path, **body):
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers))

    def _ask(self, request):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ids(self, **body):
        status, answer = self.post("/recommend", **body)
        assert status == 200, answer
        return [item["item"] for item in answer["items"]]

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)
        self.reader.join(5)


@pytest.fixture
def started(bundles, tmp_path):
    """Starts services of one bundle and state, and ends them."""
    shutil.copytree(bundles["ease"][1], tmp_path / "bundle")
    running = []

    def start(workers=1, **how):
        running.append(Process(tmp_path / "bundle", tmp_path / "state", workers, **how))
        return running[-1]

    yield start
    for one in running:
        one.end()


def replace(folder, other):
    """Put another bundle in the place of one, as `recsys package` does."""
    shutil.copytree(other, folder.with_name("other"))
    shutil.rmtree(folder)
    os.replace(folder.with_name("other"), folder)


def expected(folder, users, k=5):
    frame = recsys.load_bundle(folder).recommend(users, k=k)
    return {user: rows["item"].tolist() for user, rows in frame.groupby("user")}


COMPACTING = """
import sys
from recsys.cli.app import main
from recsys.serving import state
state.LEAST = 200
main(sys.argv[1:])
"""


@pytest.mark.parametrize("code", [("-m", "recsys"), ("-c", COMPACTING)], ids=["as ever", "compacting"])
def test_what_was_acknowledged_outlives_a_kill(started, code):
    service, kept = started(code=code), {}
    stop = threading.Event()

    def write(number):
        while not stop.is_set():
            user = f"w{number}-{len(kept)}"
            try:
                status, _ = service.post("/interactions", interactions=[{"user": user, "item": "i3"}])
            except (OSError, ValueError):
                return
            if status == 200:
                kept[user] = "i3"

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(kept) < 100:
        time.sleep(0.01)
    service.process.kill()
    stop.set()
    for thread in threads:
        thread.join()
    again = started()
    assert again.get("/health")[1]["changed_users"] >= len(kept) >= 100
    for user in list(kept)[:: max(1, len(kept) // 50)]:
        assert "i3" not in again.ids(user=user, k=30)


def test_no_request_is_lost_while_bundles_are_replaced(started, bundles, tmp_path):
    users = [f"u{n}" for n in range(8)]
    names = ("ease", "vbpr")
    right = {name: expected(bundles[name][1], users) for name in names}
    assert right["ease"] != right["vbpr"]
    service, done = started(), threading.Event()

    def swap():
        for turn in range(6):
            replace(tmp_path / "bundle", bundles[names[(turn + 1) % 2]][1])
            if turn % 2:
                service.process.send_signal(signal.SIGHUP)
            else:
                assert service.post("/reload")[0] == 200
            time.sleep(0.3)
        done.set()

    def ask(number):
        user = users[number % len(users)]
        return user, service.ids(user=user, k=5)

    swapping, answers = threading.Thread(target=swap), []
    swapping.start()
    with ThreadPoolExecutor(8) as pool:
        while not done.is_set() or len(answers) < 1000:
            answers += pool.map(ask, range(200))
    swapping.join()
    assert len(answers) >= 1000
    assert all(items in (right["ease"][user], right["vbpr"][user]) for user, items in answers)
    assert {name for name in names if any(items == right[name][user] for user, items in answers)} == set(
        names
    )
    assert not [line for line in service.lines if "Traceback" in line]


def test_a_bundle_truncated_or_removed_while_it_serves_harms_nobody(started, tmp_path):
    service = started()
    before = service.ids(user="u1", k=30)
    for path in (tmp_path / "bundle").iterdir():
        with open(path, "r+b") as file:
            file.truncate(10)
    assert service.ids(user="u1", k=30) == before
    status, answer = service.post("/reload")
    assert status == 409 and "no whole bundle" in answer["error"]
    shutil.rmtree(tmp_path / "bundle")
    assert service.ids(user="u1", k=30) == before
    assert service.post("/reload")[0] == 409
    assert service.ids(user="u1", k=30) == before
    service.end()
    assert service.process.returncode in (0, -signal.SIGTERM)


def test_several_workers_agree(started):
    service = started(workers=2)
    best = service.ids(user="u2", k=3)
    assert service.post("/interactions", interactions=[{"user": "u2", "item": best[0]}])[0] == 200
    lists, answered, end = [], set(), time.monotonic() + STARTED
    # One of the workers listens before the other.
    while len(answered) < 2 and time.monotonic() < end:
        with ThreadPoolExecutor(8) as pool:
            lists += pool.map(lambda _: service.ids(user="u2", k=30), range(60))
        answered = {json.loads(line)["pid"] for line in service.lines if '"/recommend"' in line}
    assert all(best[0] not in items and items == lists[0] for items in lists)
    assert len(answered) == 2
    service.end()
    assert service.process.returncode == 0


def test_what_cannot_be_served_is_one_line(request, tmp_path):
    run = request.getfixturevalue("recsys")
    status, _, error = run("serve", "--bundle", str(tmp_path))
    assert status == 2 and "holds no bundle" in error and error.count("\n") == 1
