"""Simulated labelers over HTTP, all at once, against `preflab label` as a process of its own that can be killed.

Half of the labelers use the JSON API, half the pages' forms, as people's browsers do: cookie, `Origin`, one key per
submission, and the same again until it is answered. Kept as light as a client can be (`http.client`), since it shares
the machine with the server that it times.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from preflab.labelling.accounts import create_account
from preflab.labelling.campaigns import read_guideline
from preflab.labelling.sessions import open_session
from preflab.records import Campaign
from preflab.store.opening import VARIABLE
from preflab.store.workspace import Workspace

SOURCE = Path(__file__).resolve().parents[1] / "src"
PATIENCE = 60.0
"""Seconds a client waits for an answer, and a test for the server to start."""
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
TASK = re.compile(r'<form id="judging" method="post" action="[^"]*/t/([^"/]+)"')


class Server:
    """`preflab label` on a workspace, at one address however often it is started."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.command = [sys.executable, "-m", "preflab", "label", "--workspace", str(folder), "--json", "--port"]
        self.environment = {**os.environ, "PYTHONPATH": str(SOURCE)} | ({VARIABLE: url} if url else {})
        self.log = folder.with_name(f"{folder.name}-server.log")
        self.url, self.port = "", 0
        self.down: list[tuple[float, float]] = []
        """From each kill to the moment it answered again."""
        self._running: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("a") as log:
            self._running = subprocess.Popen(
                [*self.command, str(self.port)], stdout=subprocess.PIPE, stderr=log, env=self.environment, text=True
            )
        assert self._running.stdout is not None
        line = self._running.stdout.readline()
        assert line, f"the server did not start: {self.log.read_text()[-2000:]}"
        self.url = json.loads(line)["url"]
        self.port = urlsplit(self.url).port or 0
        self._wait_until_it_answers()

    def kill_and_start(self) -> None:
        """`kill -9`, and the same command again."""
        since = time.monotonic()
        self.kill()
        self.start()
        self.down.append((since, time.monotonic()))

    def kill(self) -> None:
        """End it without a chance to finish anything."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            assert self._running.stdout is not None
            self._running.stdout.close()
            self._running = None

    def cpu_seconds(self) -> float:
        """Processor time it has used since it was started, in user and system mode; on Linux."""
        assert self._running is not None
        fields = Path(f"/proc/{self._running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        raise AssertionError("the server does not answer")


class Try(NamedTuple):
    """One request: what, when, and the status that came back; 0 where none came."""

    what: str
    start: float
    end: float
    status: int


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: str


@dataclass
class Caller:
    """A signed-in person's connection; every try is noted."""

    url: str
    cookie: str
    tries: list[Try] = field(default_factory=list)
    _connection: HTTPConnection | None = None

    def once(self, what: str, method: str, path: str, body: str | None, kind: str) -> Reply:
        """One try."""
        headers = {"Cookie": self.cookie, "Origin": self.url}
        if body is not None:
            headers |= {"Content-Type": kind, "Accept": "application/json"}
        start = time.monotonic()
        reply = Reply(0, "")
        try:
            if self._connection is None:
                self._connection = HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            reply = Reply(response.status, response.read().decode())
        except (OSError, HTTPException):
            self.hang_up()
        self.tries.append(Try(what, start, time.monotonic(), reply.status))
        return reply

    def until_answered(self, what: str, method: str, path: str, body: str | None = None, kind: str = "") -> str:
        """The same again while there is no answer; the body of the answer, which must be a good one."""
        until = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < until:
            reply = self.once(what, method, path, body, kind)
            if reply.status in (200, 201):
                return reply.body
            assert reply.status == 0 or reply.status >= 500, f"{method} {path}: {reply.status} {reply.body[:300]}"
            time.sleep(0.1)
        raise AssertionError(f"{method} {path}: no answer")

    def hang_up(self) -> None:
        """Close the connection; the next try opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Shown(NamedTuple):
    """A task as it was given, and how to answer it: key and ranks, first place on the page first."""

    task_id: str
    submit: Callable[[Sequence[int]], str]


class ByApi:
    """The door of scripts: JSON."""

    def __init__(self, caller: Caller, campaign_id: str) -> None:
        self.caller, self.campaign_id = caller, campaign_id

    def next_task(self) -> Shown | None:
        """The next task; None where there is none now."""
        turn = self.asked_next()["turn"]
        return None if turn is None else Shown(turn["task_id"], lambda ranks: self._submit(turn, ranks))

    def asked_next(self) -> dict[str, Any]:
        """What the API says to the question for the next task."""
        answer = self.caller.until_answered("next task", "GET", f"/api/v1/campaigns/{self.campaign_id}/next")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _submit(self, turn: dict[str, Any], ranks: Sequence[int]) -> str:
        key = random.randbytes(16).hex()
        body = {"key": key, "based_on": turn["revision"], "answer": {"ranks": list(ranks)}, "active_ms": 60_000}
        path = f"/api/v1/tasks/{turn['task_id']}/judgments"
        self.caller.until_answered("submit", "POST", path, json.dumps(body), "application/json")
        return key


class ByPage:
    """The door of people: the page, and its form with the hidden fields that it came with."""

    def __init__(self, caller: Caller, campaign_id: str) -> None:
        self.caller, self.path = caller, f"/c/{campaign_id}"

    def next_task(self) -> Shown | None:
        """The next task; None where there is none now."""
        page = self.caller.until_answered("next task", "GET", self.path)
        found = TASK.search(page)
        fields = dict(HIDDEN.findall(page)) | {"active_ms": "60000"}
        return None if found is None else Shown(found[1], lambda ranks: self._submit(found[1], fields, ranks))

    def _submit(self, task_id: str, fields: dict[str, str], ranks: Sequence[int]) -> str:
        body = fields | {f"rank_{place}": str(rank) for place, rank in enumerate(ranks)}
        kind = "application/x-www-form-urlencoded"
        answer = self.caller.until_answered("submit", "POST", f"{self.path}/t/{task_id}", urlencode(body), kind)
        assert "next" in json.loads(answer), answer
        return body["key"]


class Sent(NamedTuple):
    """An acknowledged submission."""

    task_id: str
    labeler_id: str
    ranks: tuple[int, ...]


class Crowd:
    """Labelers who work through a campaign at once, one thread each."""

    def __init__(self, ws: Workspace, url: str, campaign: Campaign, num: int, num_completions: int = 3) -> None:
        self.campaign, self.num_completions = campaign, num_completions
        self.acknowledged: dict[str, Sent] = {}
        """By key, from the moment the answer was read."""
        self.callers: list[Caller] = []
        self._working: list[Future[None]] = []
        self._ends_at = float("inf")
        self._people = [self._person(ws, url, n) for n in range(num)]

    def work(
        self, think: float = 0.0, seconds: float = float("inf"), meanwhile: Callable[[], None] | None = None
    ) -> None:
        """All of them until nothing is left or the time is over, each thinking so many seconds on average."""
        self._ends_at = time.monotonic() + seconds
        with ThreadPoolExecutor(len(self._people)) as pool:
            self._working = [pool.submit(self._label, *person, think) for person in self._people]
            if meanwhile is not None:
                meanwhile()
        self.check()

    def check(self) -> None:
        """Raise what went wrong with anybody so far."""
        for each in self._working:
            if each.done():
                each.result()

    @property
    def tries(self) -> list[Try]:
        """Every request of everyone."""
        return [each for caller in self.callers for each in caller.tries]

    def _person(self, ws: Workspace, url: str, number: int) -> tuple[str, ByApi | ByPage, ByApi]:
        account = create_account(ws, f"Person {number}", "labeler")
        read_guideline(ws, self.campaign.id, account.labeler_id, 1)
        caller = Caller(url, f"preflab_{urlsplit(url).port}={open_session(ws, account.id)}")
        self.callers.append(caller)
        by_api = ByApi(caller, self.campaign.id)
        return account.labeler_id, by_api if number % 2 else ByPage(caller, self.campaign.id), by_api

    def _label(self, labeler_id: str, door: ByApi | ByPage, by_api: ByApi, think: float) -> None:
        drawn = random.Random(labeler_id)
        time.sleep(drawn.uniform(0, think))
        while time.monotonic() < self._ends_at:
            shown = door.next_task()
            if shown is None and by_api.asked_next()["reason"] in ("all_done", "you_did_all"):
                break
            if shown is None:
                time.sleep(0.2)
                continue
            time.sleep(drawn.expovariate(1 / think) if think else 0)
            ranks = tuple(drawn.randint(1, self.num_completions) for _ in range(self.num_completions))
            self.acknowledged[shown.submit(ranks)] = Sent(shown.task_id, labeler_id, ranks)
        by_api.caller.hang_up()
