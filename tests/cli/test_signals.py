"""A command that is told to end: one line, its own exit code, and what is done stays done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segwright.cli import Terminated, main
from segwright.mini.voc import data_folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_in_the_middle_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:40]
    options = [*map(str, photos), "--preset", "mini", "--device", "cpu", "--method", "maskclip", "--words", "dog, grass"]
    command = [sys.executable, "-u", "-m", "segwright", "segment", *options, "--batch", "1", "-o", str(tmp_path / "run")]
    at_work = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert at_work.stdout is not None
    assert at_work.stdout.readline()
    at_work.send_signal(signal.SIGTERM)
    _, said = at_work.communicate(timeout=60)
    assert at_work.returncode == 143
    assert "segwright: terminated; start again to resume" in said
    assert "Traceback" not in said
    assert "terminate called" not in said
    done = len((tmp_path / "run/manifest.jsonl").read_text().splitlines())
    assert 1 <= done < len(photos)
    assert main(["segment", *options[-4:], *options[:-4], "-o", str(tmp_path / "run")]) == 0
    assert f"{done} of {len(photos)} photos were in" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run/manifest.jsonl").read_text().splitlines()]
    assert len({line["photo"] for line in lines}) == len(lines) == len(photos)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_ends_all_processes_of_a_training(tmp_path: Path) -> None:
    options = ["--stage", "vae", "--scenes", "16", "--steps", "100000", "--processes", "2", "-o", str(tmp_path)]
    command = [sys.executable, "-m", "segwright", "mini", "train", *options]
    at_work = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert at_work.stderr is not None
    said = b""
    while b"vae:" not in said:
        said += (part := at_work.stderr.read1())
        assert part, said.decode()
    at_work.send_signal(signal.SIGTERM)
    at_work.communicate(timeout=60)  # all that write to the pipe have ended
    assert at_work.returncode == 143


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("check",), "terminated"),
        (("serve",), "terminated"),
        (("explain", "a.jpg", "-o", "a.html"), "terminated"),
        (("diagnose", "a.jpg"), "terminated"),
        (("diagnose", "--data", "mini"), "terminated; start again to resume"),
        (("refine", "a.jpg", "--mask", "a.png", "-o", "out"), "terminated; start again to resume"),
        (("table", "freeseg-diff/2"), "terminated; start again to resume"),
        (("fetch",), "terminated; start again to resume"),
        (("segment", "a.jpg", "--restart"), "terminated; start again without --restart to resume"),
    ],
)
def test_only_what_resumes_says_so(
    command: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: object) -> None:
        raise Terminated

    monkeypatch.setattr("segwright.cli.settle_dtype", ended)
    assert main(command) == 143
    assert capsys.readouterr().err == f"segwright: {said}\n"
