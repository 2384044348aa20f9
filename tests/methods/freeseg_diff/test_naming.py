"""Naming regions, on embeddings made by hand and against a slow twin of the published code's rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.methods.freeseg_diff.naming import best_of_each, name_regions, paint

WORDS = ["dog", "cat", "car", "background"]
TEXTS = torch.eye(4)
REGIONS = torch.nn.functional.normalize(torch.tensor([[0.9, 0.1, 0, 0], [0.2, 0.9, 0.1, 0], [0, 0.1, 0.5, 0.6]]), dim=1)


def test_nearest_word_wins_and_others_than_candidates_are_unlabelled() -> None:
    named = name_regions(REGIONS, TEXTS, WORDS, [0, 2], 10.0)
    assert [n.label for n in named] == [1, 0, 0]
    assert [n.nearest for n in named] == [0, 1, 3]


def slow(regions: np.ndarray, texts: np.ndarray, candidates: list[int], scale: float) -> list[int]:
    """The published rule, number by number, from FreeSeg-Diff's description of its code; float64."""
    count, classes = len(regions), len(texts)
    table = [[0.0] * count for _ in range(classes)]
    for k in range(count):
        logits = [scale * sum(a * b for a, b in zip(regions[k], texts[c], strict=True)) for c in range(classes)]
        total = sum(np.exp(value - max(logits)) for value in logits)
        for c in candidates:
            table[c][k] = np.exp(logits[c] - max(logits)) / total
    labels = []
    for k in range(count):
        best, label = 0.0, 0
        for c in range(classes):
            if table[c][k] >= max(table[c]) and table[c][k] > best:
                best, label = table[c][k], c + 1
        labels.append(label)
    return labels


@pytest.mark.parametrize("seed", range(40))
def test_published_rule_against_a_slow_twin(seed: int) -> None:
    """Largest difference in 40 draws: none of 200 labels differs."""
    draw = np.random.default_rng(seed)
    regions, texts = draw.normal(size=(5, 8)), draw.normal(size=(9, 8))
    regions, texts = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (regions, texts))
    candidates = sorted(draw.choice(9, draw.integers(1, 5), replace=False).tolist())
    fast = name_regions(*map(torch.tensor, (regions, texts)), list("abcdefghi"), candidates, 10.0, naming="published")
    assert [n.label for n in fast] == slow(regions, texts, candidates, 10.0)


def test_a_single_candidate_takes_the_region_that_resembles_it_most() -> None:
    """Not region 0, as it did where the softmax was over the candidates alone: every region then scores 1.0."""
    for place in range(3):
        regions = TEXTS[[3, 3, 3]].clone()
        regions[place] = REGIONS[0]
        labels = [n.label for n in name_regions(regions, TEXTS, WORDS, [0], 100.0, naming="published")]
        assert labels == [int(k == place) for k in range(3)]


def test_a_candidate_keeps_its_best_region_though_another_candidate_wins_it() -> None:
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.25, 0.55]])
    assert best_of_each(probabilities, [0, 1]) == [1, 0]  # 1's best region is 0's too; region 1 is nobody's best


def test_without_candidates_all_is_unlabelled() -> None:
    assert best_of_each(torch.full((2, 3), 1 / 3), []) == [0, 0]


def test_probabilities_equal_a_softmax_by_hand() -> None:
    ranking = dict(name_regions(REGIONS, TEXTS, WORDS, [0], 3.0)[1].ranking)
    expected = torch.softmax(3.0 * REGIONS[1], 0)
    for i, word in enumerate(WORDS):
        assert ranking[word] == pytest.approx(float(expected[i]), abs=1e-7)


def test_paint_keeps_labels_that_are_present() -> None:
    regions = torch.tensor([[0, 0, 1], [2, 1, 1]])
    scores = paint(regions, [3, 0, 3], ["dog", "cat", "car"])
    assert scores.labels == (0, 3)
    assert scores.argmax().tolist() == [[3, 3, 0], [3, 0, 0]]
