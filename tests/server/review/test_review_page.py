"""The review page: 300 photos by keyboard in a browser; killed again and again, no decision lost; strangers kept out."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the review needs the page's server: pip install 'segwright[page]'")

import chromium
from chromium import browser, needed  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[2] / "runs"))
from toy import WORDS, Toy, make_photos

from segwright.errors import InputError
from segwright.runs.reading import open_run
from segwright.runs.review import Review
from segwright.runs.segment import segment
from segwright.server.review import _listening, review

PHOTOS = 300
FORK = multiprocessing.get_context("fork")


def make_run(folder: Path, count: int) -> Path:
    make_photos(folder / "in", count)
    assert all(one.error is None for one in segment(folder / "in", Toy(), folder / "run", WORDS))
    return folder / "run"


class Served:
    """``segwright review`` in a forked process."""

    def __init__(self, run: Path, **how: Any) -> None:
        with _listening("127.0.0.1", 0) as sock:
            self.port = sock.getsockname()[1]
        self.process = FORK.Process(target=review, args=(run, "127.0.0.1", self.port), kwargs=how, daemon=True)
        self.process.start()
        for _ in range(2400):
            try:
                self.ask("/")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("it did not begin")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, path: str, data: Any = None, **headers: str) -> tuple[int, bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = None if data is None else json.dumps(data)
            kind = {} if data is None else {"Content-Type": "application/json"}
            line.request("GET" if data is None else "POST", path, body, {**kind, **headers})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def end(self) -> None:
        if self.process.is_alive() and self.process.pid:
            self.process.kill()  # of one that is gone already: nothing
        self.process.join(30)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("review"), PHOTOS)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(make_run(tmp_path, 4))
    yield server
    server.end()


@needed
def test_300_photos_by_keyboard(run: Path, browser: Any) -> None:  # noqa: F811
    """Every third is rejected, one region of each fifth taken away, one of each seventh renamed; no mouse."""
    (run / "review.jsonl").unlink(missing_ok=True)
    server = Served(run)
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(server.url)
        page.wait_for_function("photos.length == 300")
        wanted: dict[str, tuple[str, int, int]] = {}
        for i in range(PHOTOS):
            name = page.inner_text("#name")
            assert name not in wanted
            regions = page.locator("#regions li").count()
            removed = renamed = 0
            if i % 5 == 0 and regions > 1:
                page.keyboard.press("ArrowDown")
                page.keyboard.press("x")
                removed = 1
            if i % 7 == 0 and regions:
                page.keyboard.press("ArrowUp")
                page.keyboard.press("n")
                page.keyboard.type("lynx")
                page.keyboard.press("Enter")
                renamed = 1
            page.keyboard.press("r" if i % 3 == 0 else "a")
            wanted[name] = ("rejected" if i % 3 == 0 else "accepted", removed, renamed)
        page.wait_for_function("document.getElementById('done').textContent == '300 decided'", timeout=120_000)
        if os.environ.get("SEGWRIGHT_SCREENSHOTS"):
            page.screenshot(path=str(Path(os.environ["SEGWRIGHT_SCREENSHOTS"]) / "review.png"))
    finally:
        page.close()
        server.end()
    found = Review(open_run(run)).decisions()
    assert {name: (one.verdict, len(one.removed), len(one.renamed)) for name, one in found.items()} == wanted
    assert not errors


def test_killed_at_20_moments_no_decision_is_lost(run: Path) -> None:
    (run / "review.jsonl").unlink(missing_ok=True)
    lot = random.Random(0)
    names = sorted(Review(open_run(run)).names)
    known: dict[str, dict[str, Any]] = {}  # what the server said that it keeps
    killed = 0
    while killed < 20:
        server = Served(run)
        timer = threading.Timer(lot.uniform(0.02, 0.8), server.end)
        timer.start()
        try:
            while True:
                name = lot.choice(names)
                wish = {
                    "name": name,
                    "verdict": lot.choice(("accepted", "rejected")),
                    "seen": known.get(name, {}).get("number", 0),
                }
                code, content = server.ask("/decide", wish)
                answer = json.loads(content)
                if code == 409:  # on the disk before the kill, but its answer never came
                    known[name] = answer["now"]
                else:
                    assert code == 200, answer
                    known[name] = answer
        except (OSError, http.client.HTTPException):
            killed += 1
        finally:
            timer.cancel()
            server.end()
        found = {name: one.number for name, one in Review(open_run(run)).decisions().items()}
        assert all(found[name] >= one["number"] for name, one in known.items())
    assert len(known) > 20


def test_two_people_in_two_windows(served: Served) -> None:
    state = json.loads(served.ask("/state")[1])
    name = state["photos"][0]["name"]
    assert state["photos"][0]["decision"] is None
    code, content = served.ask("/decide", {"name": name, "verdict": "accepted", "by": "ann"})
    assert code == 200
    code, content = served.ask("/decide", {"name": name, "verdict": "rejected", "by": "bob"})
    assert code == 409
    assert json.loads(content)["now"]["by"] == "ann"
    code, _ = served.ask("/decide", {"name": name, "verdict": "rejected", "by": "bob", "seen": 1})
    assert code == 200


def test_the_most_doubtful_comes_first(served: Served) -> None:
    photos = json.loads(served.ask("/state")[1])["photos"]
    least = [min((score for _, _, score in one["segments"]), default=0.0) for one in photos]
    assert least == sorted(least)


def test_pictures_and_what_is_refused(served: Served) -> None:
    name = json.loads(served.ask("/state")[1])["photos"][0]["name"]
    assert served.ask(f"/picture?name={name}")[1][:2] == b"\xff\xd8"
    assert served.ask(f"/overlay?name={name}&hidden=1,2")[1][:4] == b"\x89PNG"
    for path in ("/picture?name=../../etc/passwd", "/overlay?name=", "/picture"):
        assert served.ask(path)[0] == 400
    for bad in ({}, {"name": name}, {"name": name, "verdict": "maybe"}, {"name": "x", "verdict": "accepted"}, [1]):
        assert served.ask("/decide", bad)[0] == 400
    assert served.ask("/decide", {"name": name, "verdict": "accepted", "removed": ["horse"]})[0] == 400
    assert served.ask("/decide", {"name": name, "verdict": "accepted"}, **{"Content-Type": "text/plain"})[0] in (400, 415)
    assert served.ask("/state", Host="evil.example")[0] == 403
    assert served.ask("/state", Origin="http://evil.example")[0] == 403


def test_the_token(tmp_path: Path) -> None:
    server = Served(make_run(tmp_path, 1), token="secret")
    try:
        assert server.ask("/state")[0] == 401
        assert server.ask("/state?token=wrong")[0] == 401
        assert server.ask("/?token=secret")[0] == 303
        assert server.ask("/state", Cookie="segwright-token=secret")[0] == 200
    finally:
        server.end()


def test_a_run_must_be_there_and_a_port_free(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json"):
        review(tmp_path)
    with _listening("127.0.0.1", 0) as sock, pytest.raises(InputError, match="choose another --port"):
        _listening("127.0.0.1", sock.getsockname()[1])
    assert chromium.playwright is not None
