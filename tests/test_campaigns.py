"""A small, seeded slice of each campaign of tests/campaigns; the whole of one is run by its script (docs/campaigns.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from segwright.methods.base import MethodSpec

sys.path.append(str(Path(__file__).parent / "campaigns"))
from common import Attack, campaign, finish, quick

SEED = 17
posix = pytest.mark.skipif(os.name == "nt", reason="no fork there")


def run(make: Callable[[Path], Attack], folder: Path, size: int, first: int = 0) -> set[str]:
    """The outcomes of some attacks, none of which is a fault."""
    with quick():
        attack = make(folder)
        tally = campaign(attack, first + size, SEED, first=first)
        finish(attack, tally)
    assert not tally.faults, "\n".join(f"attack {number}:\n{text}" for number, text in tally.faults)
    assert tally.attacks == size
    return set(tally.outcomes)


def test_a_fault_is_counted() -> None:
    def attack(rng: object, number: int) -> str:
        assert number != 3, "the fourth"
        return "right"

    tally = campaign(attack, 6)
    assert (tally.outcomes["right"], [number for number, _ in tally.faults]) == (5, [3])
    assert "the fourth" in tally.faults[0][1]


def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = import_module("pictures")
    monkeypatch.setattr(MethodSpec, "load", MethodSpec.load)  # what the campaign puts there goes with the test
    outcomes = run(lambda folder: pictures.make(folder, measured=False), tmp_path, 60)  # the first is a folder
    assert outcomes == {"read", "refused", "folder done"}


def test_state(tmp_path: Path) -> None:
    outcomes = run(import_module("state").make, tmp_path, 27)
    assert {"run made again", "report refused", "bank refused"} <= outcomes


def test_words(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("yaml")
    assert "right" in run(import_module("words").make, tmp_path, 9, first=1)


@posix
def test_kills(tmp_path: Path) -> None:
    assert any("killed" in outcome for outcome in run(import_module("kills").make, tmp_path, 12))


@posix
def test_crowd(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    run(import_module("crowd").make, tmp_path, 4)


@posix
def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = import_module("disks")
    monkeypatch.setattr(disks, "mounted", lambda place, kilobytes: False)  # tests mount nothing
    assert any("refused" in outcome for outcome in run(disks.make, tmp_path, 12))


def test_page(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    assert "proper" in run(import_module("page").make, tmp_path, 12, first=1)


@posix
def test_day(tmp_path: Path) -> None:
    with quick():
        assert "60 photos, 3 of them bad" in import_module("day").day(tmp_path, 60, SEED, most=1)
