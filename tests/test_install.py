""".ci/torch takes PyTorch's build for the CPU where there is no NVIDIA GPU, and gives up soon where its index does not answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import hub
import pytest

ROOT = Path(__file__).parents[1]
TORCH = ROOT / ".ci/torch"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the usual build has no CUDA")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python whose pip installs nothing and writes down what it is asked for."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\ncase "$*" in "-m pip"*) echo "$*" >> {tmp_path}/asked;; *) exec {sys.executable} "$@";; esac\n')
    path.chmod(0o755)
    return path


def run(python: Path, index: str, gpu: bool = False) -> tuple[str, str]:
    """What it says, and what pip was asked for."""
    tools = python.parent / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    (tools / "nvidia-smi").chmod(0o755)
    environment = os.environ | {"TORCH_CPU": index, "PATH": f"{tools}:{os.environ['PATH']}", "no_proxy": "127.0.0.1"}
    began = time.monotonic()
    done = subprocess.run([TORCH, python], capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert time.monotonic() - began < 60  # 8 s of its own; the rest is the machine's
    asked = python.parent / "asked"
    return done.stdout, asked.read_text() if asked.exists() else ""


def test_an_index_that_answers_is_taken(python: Path) -> None:
    with hub.serving() as index:
        index.fault("/torch/", lambda handler: handler.reply(200, b"ok", {}) is None)
        said, asked = run(python, index.address)
    pin = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    assert f"--index-url {index.address}" in asked
    assert f"{pin}+cpu" in asked
    assert "2.3 GB" in said


@pytest.mark.parametrize("silent", [True, False])
def test_an_index_that_does_not_answer_is_given_up(python: Path, silent: bool) -> None:
    with hub.serving() as index:
        index.fault("/torch/", hub.silent(100) if silent else hub.status(503))
        said, asked = run(python, index.address)
    assert not asked
    assert "does not answer" in said
    assert "5.2 GB instead of 2.3 GB" in said


def test_with_a_gpu_the_usual_build_is_taken(python: Path) -> None:
    said, asked = run(python, "http://127.0.0.1:9", gpu=True)
    assert not asked
    assert "NVIDIA GPU" in said
    assert "5.2 GB" in said
