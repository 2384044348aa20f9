"""The fastest number type: measured once, remembered for this machine, and no harm from a damaged or read-only cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segwright.models import units
from segwright.weights import pick_dtype


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return units.cache_file()


@pytest.mark.parametrize(("whole", "half", "found"), [(0.3, 0.1, "bfloat16"), (0.1, 0.09, "float32"), (0.04, 0.33, "float32")])
def test_bfloat16_must_pay(whole: float, half: float, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_seconds", {torch.float32: whole, torch.bfloat16: half}.__getitem__)
    assert units.measure() == found
    assert pick_dtype("auto", torch.device("cpu")) == getattr(torch, found)


def test_measured_once(cache: Path) -> None:
    calls: list[str] = []

    def measured() -> str:
        calls.append("")
        return "bfloat16"

    assert [units.remembered(measured) for _ in range(3)] == ["bfloat16"] * 3
    assert len(calls) == 1
    assert cache.is_file()


@pytest.mark.parametrize("damage", ["{", "[1]", '{"a": 1}', ""])
def test_a_damaged_cache_is_measured_anew(damage: str, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(damage)
    assert units.remembered(lambda: "float32") == "float32"
    assert units.remembered(lambda: "bfloat16") == "float32"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert units.remembered(lambda: "float32") == "float32"


def test_a_real_measurement() -> None:
    assert units.measure() in ("float32", "bfloat16")
    assert units.fastest(torch.device("mps")) == "float16"
