"""The engine ray: the same results, lost actors survived, killed and resumed.

Ray takes long to start: one is started for the tests at the end, and one by each process of ``test_killed_and_started_again``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from test_runs import check_same, lines
from toy import WORDS, MortalSpec, Unloadable, make_photos, spec

from segwright.errors import InputError, SegwrightError
from segwright.runs import on_ray
from segwright.runs.segment import segment

COUNT = 14
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_photos(tmp_path_factory.mktemp("photos"), COUNT - 1)
    (folder / "bad.jpg").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert sum(o.error is None for o in segment(photos, spec(), out, WORDS)) == COUNT - 1
    return out


def test_without_ray_one_sentence_says_how_to_get_it(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'segwright\[ray\]'"):
        list(segment(photos, spec(), tmp_path / "r", WORDS, engine="ray"))
    assert not (tmp_path / "r").exists()


STARTED = """
import sys
sys.path.insert(0, sys.argv[3])
from toy import WORDS, spec
from segwright.runs.segment import segment
if __name__ == "__main__":
    for _ in segment(sys.argv[1], spec(0.15), sys.argv[2], WORDS, batch=1, engine="ray", workers=2):
        pass
"""


def below(pid: int) -> set[int]:
    """The processes that a process started, and those that they started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    found, pairs = [pid], [tuple(map(int, line.split())) for line in listed.splitlines()]
    for parent in found:
        found += [child for child, above in pairs if above == parent]
    return set(found[1:])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_killed_and_started_again(photos: Path, whole: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "r", tmp_path / "started.py"
    script.write_text(STARTED)
    command = [sys.executable, str(script), str(photos), str(out), str(HERE)]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "PYTHONPATH": path}}
    left: set[int] = set()
    process = subprocess.Popen(command, **quiet)
    while process.poll() is None:
        if (out / "manifest.jsonl").exists() and (out / "manifest.jsonl").read_bytes().count(b"\n") >= 4:
            left = below(process.pid)
            process.kill()
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    done = len(lines(out)) if (out / "manifest.jsonl").read_bytes().endswith(b"\n") else None
    assert done is None or done < COUNT
    subprocess.run(command, check=True, **quiet)
    check_same(out, whole)
    if sys.platform == "linux":
        until = time.monotonic() + 60
        while any(map(alive, left)) and time.monotonic() < until:
            time.sleep(0.1)
        assert left
        assert not any(map(alive, left)), "what a killed run had started is gone"


def test_a_ray_that_runs_already_is_used_and_stays(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("another one was started"))
    assert on_ray._started(None, 2) == (ray, False)


def test_ray_alone_has_a_core_for_each_actor_and_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **options: started.append(options))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for name in on_ray.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    assert on_ray._started(None, 7) == (ray, True)
    assert on_ray._started("ray://host:10001", 7) == (ray, True)
    assert started[0]["address"] == "local", "never a cluster that happens to be there"
    assert started[0]["num_cpus"] >= 7
    assert started[1]["address"] == "ray://host:10001"
    assert "num_cpus" not in started[1]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    """A Ray for several tests; its workers can import ``toy``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        assert on_ray._started(None, 2) == (ray, True)
        yield
        ray.shutdown()


def test_a_killed_actor_is_survived_and_masks_are_the_same(started: None, photos: Path, whole: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    method = MortalSpec("maskclip", "mini", "cpu", marker=str(marker))
    outcomes = list(segment(photos, method, tmp_path / "r", WORDS, batch=3, engine="ray"))
    assert marker.exists(), "an actor was killed"
    assert len(list(tmp_path.glob("marker.*"))) > 1, "another one took over"
    assert len(outcomes) == COUNT
    check_same(tmp_path / "r", whole)
    assert ray.is_initialized(), "a Ray that was there stays"


def test_what_an_actor_says_comes_through(started: None, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SegwrightError, match="the networks are not there; fetch them"):
        list(segment(photos, Unloadable("maskclip", "mini", "cpu"), tmp_path / "r", WORDS, engine="ray"))
