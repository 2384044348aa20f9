"""Naming regions, on embeddings made by hand."""

from __future__ import annotations

import pytest
import torch

from segwright.methods.freeseg_diff.naming import keep_best_region, name_regions, paint

WORDS = ["dog", "cat", "car", "background"]
TEXTS = torch.eye(4)
REGIONS = torch.nn.functional.normalize(torch.tensor([[0.9, 0.1, 0, 0], [0.2, 0.9, 0.1, 0], [0, 0.1, 0.5, 0.6]]), dim=1)


def test_nearest_word_wins_and_others_than_candidates_are_unlabelled() -> None:
    named = name_regions(REGIONS, TEXTS, WORDS, [0, 2], 10.0)
    assert [n.label for n in named] == [1, 0, 0]
    assert [n.nearest for n in named] == [0, 1, 3]


def test_restricted_to_candidates() -> None:
    named = name_regions(REGIONS, TEXTS, WORDS, [0, 2], 10.0, restrict=True)
    assert [n.label for n in named] == [1, 1, 3]


def test_probabilities_equal_a_softmax_by_hand() -> None:
    ranking = dict(name_regions(REGIONS, TEXTS, WORDS, [0], 3.0)[1].ranking)
    expected = torch.softmax(3.0 * REGIONS[1], 0)
    for i, word in enumerate(WORDS):
        assert ranking[word] == pytest.approx(float(expected[i]), abs=1e-4)


def test_best_region_only() -> None:
    named = name_regions(torch.cat([REGIONS[:1], REGIONS[:1] * 0.9, REGIONS[1:2]]), TEXTS, WORDS, [0, 1], 10.0)
    assert keep_best_region(named, [0.5, 0.8, 0.6]) == [0, 1, 2]


def test_paint_keeps_labels_that_are_present() -> None:
    regions = torch.tensor([[0, 0, 1], [2, 1, 1]])
    scores = paint(regions, [3, 0, 3], ["dog", "cat", "car"])
    assert scores.labels == (0, 3)
    assert scores.argmax().tolist() == [[3, 3, 0], [3, 0, 0]]
