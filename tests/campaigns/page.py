"""Hostile calls to the page and its API: nothing but uploads is read, memory is flat, refusals are quick, no traceback.

    python tests/campaigns/page.py [--size 3000] [--seed 0] [--seconds 3600]

Two calls in three are proper ones, one in fifteen of all comes with nine others at once; the rest names files, hosts, origins,
types, sizes and sessions that it must not. The slowest refusal is printed; with one job at a time it waits for those before it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import Attack, main
from PIL import Image as Pillow

from segwright.mini.voc import data_folder
from segwright.server.page.app import serving
from segwright.server.page.workspace import Workspace

SAMPLES = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:6]
WARM = 200  # calls after which memory should not grow
JUNK: tuple[Any, ...] = (None, True, -1, 1e308, "", "x" * 5000, [], {}, {"path": 5}, {"path": None}, [[]], "\ud800", {"meta": {}})


def settings(photo: Any, words: Any = "dog, car") -> list[Any]:
    """The named API's inputs."""
    return [photo, words, "maskclip", "none", "none", None, False, None, "", "", "none", ""]


# Gradio writes its own refusals of paths and inputs to the server's terminal with a traceback; the caller gets none.
LOGGED = re.compile(r"^(gradio\.exceptions\.|pydantic_core\._pydantic_core\.ValidationError)", re.M)


class Page:
    """A served page and its attacks."""

    def __init__(self, place: Path) -> None:
        self.secret = place / "secret.png"
        Pillow.new("RGB", (40, 30), (1, 2, 3)).save(self.secret)
        self.said = io.StringIO()
        logging.getLogger().addHandler(logging.StreamHandler(self.said))
        self.stderr, sys.stderr = sys.stderr, self.said
        self.served = serving(Workspace("mini", "cpu", banks=place / "banks"))
        self.url = self.served.__enter__()
        self.calls, self.warm, self.slowest = 0, 0.0, 0.0
        self.attacks: tuple[Callable[[random.Random], str], ...]
        self.attacks = (self.path, self.host, self.types, self.large, self.session, self.piece)

    def __call__(self, rng: random.Random, number: int) -> str:
        self.calls += 1
        if self.calls == WARM:
            self.warm = memory()
        if number % 15 == 0:
            with ThreadPoolExecutor(10) as crowd:
                seeds = [rng.random() for _ in range(10)]
                list(crowd.map(lambda seed: self.one(random.Random(seed)), seeds))
            return "ten at once"
        return self.one(rng)

    def one(self, rng: random.Random) -> str:
        if rng.random() < 2 / 3:
            return self.proper(rng)
        begun = time.monotonic()
        outcome = rng.choice(self.attacks)(rng)
        if "refused" in outcome:
            self.slowest = max(self.slowest, time.monotonic() - begun)
        return outcome

    def end(self) -> None:
        """Nothing was printed that only a fault prints, and memory is as it was."""
        sys.stderr = self.stderr
        now = memory()
        self.served.__exit__(None, None, None)
        grown = f"memory {self.warm / 1e6:.0f} MB after {WARM} calls, {now / 1e6:.0f} MB at the end"
        print(f"slowest refusal {self.slowest:.2f} s; {grown}")
        blocks = self.said.getvalue().split("Traceback (most recent call last):")[1:]
        faults = [block for block in blocks if not LOGGED.search(block)]
        assert not faults, faults[-1][-4000:]
        assert not self.warm or now < 1.05 * self.warm, "memory grew"

    def ask(self, path: str, data: Any = None, raw: bytes | None = None, **headers: str) -> tuple[int, str]:
        body = raw if raw is not None else None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=600) as reply:
                return reply.status, reply.read().decode("utf8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf8", "replace")

    def upload(self, content: bytes, name: str) -> str:
        head = f'--b0undary\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        kind = {"Content-Type": "multipart/form-data; boundary=b0undary"}
        status, reply = self.ask("gradio_api/upload", raw=head + content + b"\r\n--b0undary--\r\n", **kind)
        assert status == 200, (status, reply)
        return str(json.loads(reply)[0])

    def segmented(self, given: list[Any], **more: Any) -> str:
        status, reply = self.ask("gradio_api/call/segment", {"data": given, **more})
        if status != 200:
            assert status in (400, 403, 404, 413, 422, 500), (status, reply)
            return f"event: error {status}"
        return self.ask(f"gradio_api/call/segment/{json.loads(reply)['event_id']}")[1]

    def proper(self, rng: random.Random) -> str:
        photo = rng.choice(SAMPLES)
        path = self.upload(photo.read_bytes(), rng.choice(("a.jpg", "ü b.jpg", "..jpg", "con.jpg")))
        reply = self.segmented(settings({"path": path, "meta": {"_type": "gradio.FileData"}}))
        full = "event: error" in reply and "queue" in reply.lower()  # more than the queue holds
        assert "event: complete" in reply or full, reply[-500:]
        return "queue full" if full else "proper"

    def path(self, rng: random.Random) -> str:
        upload = self.upload(SAMPLES[0].read_bytes(), "a.jpg")
        names = (
            *(str(self.secret), str(self.secret.with_name("absent.png")), "/dev/zero", "/etc/passwd", "/proc/self/environ", "a\0b"),
            *(
                f"{upload}/../../../secret.png",
                f"{Path(upload).parent}/../../sessions",
                "http://127.0.0.1:1/x.png",
                "file:///etc/x",
            ),
        )
        given = {"path": rng.choice(names), **({"meta": {"_type": "gradio.FileData"}} if rng.random() < 0.5 else {})}
        reply = self.segmented(settings(given))
        assert "event: error" in reply, reply[-500:]
        assert "root:" not in reply
        file = self.ask(f"gradio_api/file={rng.choice((str(self.secret), '/etc/passwd', '../secret.png'))}")
        assert file[0] in (403, 404), file
        return "path refused"

    def host(self, rng: random.Random) -> str:
        headers = rng.choice(({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": ""}))
        status, reply = self.ask(rng.choice(("", "config", "gradio_api/info")), **headers)
        assert status in (400, 403), (status, reply[:200])
        return "host refused"

    def types(self, rng: random.Random) -> str:
        given: Any = settings({"path": str(SAMPLES[0]), "meta": {"_type": "gradio.FileData"}})
        for _ in range(rng.choice((1, 2, 5))):
            given[rng.randrange(len(given))] = rng.choice(JUNK)
        if rng.random() < 0.2:
            given = rng.choice((given[:3], given * 3, *JUNK))
        try:
            reply = self.segmented(given)
        except UnicodeEncodeError:
            return "types refused"
        return "types taken" if "event: complete" in reply else "types refused"

    def large(self, rng: random.Random) -> str:
        if rng.random() < 0.5:
            stream = io.BytesIO()
            Pillow.new("1", (5000, 5000)).save(stream, "PNG")  # 25 megapixels in 3 kB
            content = stream.getvalue()
        else:
            content = os.urandom(1000) * rng.choice((1, 25_000))
        reply = self.segmented(settings({"path": self.upload(content, "a.png"), "meta": {"_type": "gradio.FileData"}}))
        assert "event: error" in reply, reply[-500:]
        return "size refused"

    def session(self, rng: random.Random) -> str:
        name = rng.choice(("../../x", "x" * 3000, "", "a/b", "ü", str(rng.random())))
        given = settings({"path": str(SAMPLES[0]), "meta": {"_type": "gradio.FileData"}})
        return "session taken" if "event: complete" in self.segmented(given, session_hash=name) else "session refused"

    def piece(self, rng: random.Random) -> str:
        fields = {"fn_name": "accept_blobs", "session_hash": "s", "component_id": str(rng.randrange(200)), "type": "layer"}
        fields |= {"index": rng.choice(("0", "999999999", "-1", "x")), "id": rng.choice(("a", "../a", "x" * 500))}
        parts = [f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        file = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        body = "".join(parts).encode() + file.encode() + os.urandom(100_000) + b"\r\n--b--\r\n"
        status, reply = self.ask("gradio_api/component_server", raw=body, **{"Content-Type": "multipart/form-data; boundary=b"})
        assert status in (200, 400, 404, 413, 422, 500), (status, reply)
        return f"piece {status}"


def memory() -> float:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make(place: Path) -> Attack:
    return Page(place)


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 3000))
