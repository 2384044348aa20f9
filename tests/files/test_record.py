"""Records: hand-computed segments, and JSON that strict readers take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.files.record import encode_record, plain, record, segments
from segwright.types import Scores, Segmentation

LABELS = np.array([[0, 0, 3, 3, 0], [0, 0, 3, 0, 0], [1, 0, 0, 0, 0]])
WORDS = ("cat", "dog", "tennis racket")


def no_constants(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_segments_by_hand() -> None:
    values = torch.zeros(2, 3, 5)
    values[1] = 0.25
    values[1, 0, 2], values[1, 0, 3], values[1, 1, 2] = 0.9, 0.8, 0.70004
    values[0] = 1 - values[1]
    found = segments(Segmentation(WORDS, LABELS, Scores(WORDS, (0, 3), values)))
    assert found == [
        {"index": 1, "word": "cat", "area": 1, "box": [0, 2, 1, 3], "score": None},
        {"index": 3, "word": "tennis racket", "area": 3, "box": [2, 0, 4, 2], "score": 0.8},
    ]
    assert [item["score"] for item in segments(Segmentation(WORDS, LABELS))] == [None, None]
    assert segments(Segmentation((), np.zeros((2, 2), int))) == []


def test_areas_and_boxes_cut_out_the_mask() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (9, 7)).astype(np.uint8)
    result = Segmentation(WORDS, labels)
    for item in segments(result):
        x0, y0, x1, y1 = item["box"]
        mask = result.mask(item["word"])
        assert mask.sum() == mask[y0:y1, x0:x1].sum() == item["area"]


def test_scores_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="resize the scores"):
        segments(Segmentation(WORDS, LABELS, Scores(WORDS, (0,), torch.ones(1, 2, 2))))


@dataclass(frozen=True)
class Settings:
    clusters: int = 4
    folder: Path = Path("weights")
    scale: float = float("inf")


def test_record_holds_everything() -> None:
    notes = {
        "caption": "a cat",
        "keywords": ("cat",),
        "dropped": [{"word": "dog", "distance": np.float32(0.5), "why": "above the mean"}],
        "settings": {"from": "notes"},
        "seed": 3,
        "segments": "cannot be replaced by a note",
    }
    result = Segmentation(WORDS, LABELS, notes=notes)
    content = record(result, photo=Path("a/cat.jpg"), preset="mini", settings=Settings())
    assert list(content)[:4] == ["photo", "size", "words", "segments"]
    assert content["photo"] == str(Path("a/cat.jpg"))
    assert content["size"] == [5, 3]
    assert content["words"] == list(WORDS)
    assert len(content["segments"]) == 2
    assert content["caption"] == "a cat"
    assert content["keywords"] == ["cat"]
    assert content["dropped"][0]["distance"] == 0.5
    assert content["settings"] == {"clusters": 4, "folder": "weights", "scale": None}
    assert (content["preset"], content["seed"]) == ("mini", 3)
    assert set(content["versions"]) == {"segwright", "torch", "diffusers", "transformers"}
    assert content["versions"]["torch"] == metadata.version("torch")
    assert json.loads(encode_record(content), parse_constant=no_constants) == content
    assert notes["seed"] == 3, "the notes stay as they are"


def test_nothing_given_is_null() -> None:
    content = record(Segmentation(WORDS, LABELS))
    assert (content["photo"], content["preset"], content["settings"], content["seed"]) == (None, None, None, None)


def test_anything_becomes_strict_json() -> None:
    odd = {
        "nan": float("nan"),
        "array": np.array([1.0, np.inf]),
        "tensor": torch.tensor([[1, 2]]),
        "bfloat": torch.tensor(0.5, dtype=torch.bfloat16),
        "set": {"b", "a"},
        3: np.int64(4),
        "true": np.bool_(True),
        "dtype": torch.float16,
        "name": "caf\udce9.jpg",
        "猫": "é",
    }
    data = encode_record(odd)
    assert data.endswith(b"}\n")
    assert "猫".encode() in data
    assert json.loads(data, parse_constant=no_constants) == {
        "nan": None,
        "array": [1.0, None],
        "tensor": [[1, 2]],
        "bfloat": 0.5,
        "set": ["a", "b"],
        "3": 4,
        "true": True,
        "dtype": "torch.float16",
        "name": "caf\\udce9.jpg",
        "猫": "é",
    }
    assert plain(Path("x")) == "x"
