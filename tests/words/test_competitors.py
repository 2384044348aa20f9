"""Which words a preset was taught."""

from __future__ import annotations

import pytest

from segwright.mini.scenes import STUFF, THINGS
from segwright.presets import find_preset
from segwright.words.competitors import unknown
from segwright.words.synonyms import Word


@pytest.mark.parametrize(
    "known", ["car", "the red cars", "car on the left", Word("motorcar", "car"), "two potted plants", "Potted Plant"]
)
def test_known(known: str) -> None:
    assert unknown([known], ["car", "potted plant"]) == []


@pytest.mark.parametrize("other", ["giraffe", "carpet", "plant", "red", Word("lorry", "truck")])
def test_unknown(other: str) -> None:
    assert unknown([other, "car"], ["car", "potted plant"]) == [other]


def test_presets() -> None:
    mini = find_preset("mini").defaults
    assert mini.unknown([*THINGS, *STUFF, "giraffe"]) == ["giraffe"]
    assert find_preset("sd15").defaults.unknown(["giraffe"]) == []
