"""The candidate filter against scipy and against plain loops."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from segwright.errors import InputError
from segwright.words.candidates import candidates, correlation_distances, cosine_distances


def slow(keywords, classes, rule):
    """Chosen classes, by the rule's sentence, one number at a time."""
    metric = "cosine" if rule == "paper" else "correlation"
    rows = [[float(cdist([k], [c], metric)[0, 0]) for c in classes] for k in keywords]
    chosen = set()
    for row in rows:
        limit = sum(row) / len(row) if rule == "paper" else sum(min(r) for r in rows) / len(rows)
        if min(row) <= limit + 1e-9:
            chosen.add(row.index(min(row)))
    return tuple(sorted(chosen))


@pytest.mark.parametrize("rule", ["paper", "reference"])
@pytest.mark.parametrize("seed", range(8))
def test_against_loops(seed, rule):
    rng = np.random.default_rng(seed)
    keywords, classes = rng.normal(0.3, 1, (rng.integers(1, 7), 12)), rng.normal(0.3, 1, (rng.integers(1, 9), 12))
    assert candidates(keywords, classes, rule).classes == slow(keywords, classes, rule)


def test_distances_against_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, (5, 16)), rng.normal(1, 2, (9, 16))
    np.testing.assert_allclose(cosine_distances(a, b), cdist(a, b, "cosine"), atol=1e-12)
    np.testing.assert_allclose(correlation_distances(a, b), cdist(a, b, "correlation"), atol=1e-12)


def test_the_papers_rule_taken_literally_drops_nothing():
    rng = np.random.default_rng(1)
    found = candidates(rng.normal(size=(200, 8)), rng.normal(size=(30, 8)))
    assert all(m.kept and m.distance <= m.threshold for m in found.matches)
    assert found.classes == tuple(sorted({m.nearest for m in found.matches}))


def test_the_papers_rule_with_equal_distances_keeps():
    same = np.ones((1, 7)) * 0.1
    assert candidates(same, np.repeat(same, 50, 0)).classes == (0,)


def test_the_references_rule_drops_the_far_one_and_says_why():
    classes = torch.eye(6)
    keywords = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 0, 1.0, 0, 0, 0], [1, 0.9, 0.8, 1, 1.1, 1]])
    found = candidates(keywords, classes, "reference", ["dog", "sofa", "light"], list("abcdef"))
    assert found.classes == (0, 2)
    assert [m.kept for m in found.matches] == [True, True, False]
    assert found.matches[0].reason == ""
    assert found.matches[2].reason.startswith("'light' is 0.")
    assert "from 'e', above the keywords' mean distance" in found.matches[2].reason
    assert candidates(keywords, classes, "reference").matches[2].reason.startswith("keyword 2 is 0.")


def test_the_same_class_twice_is_one_candidate_and_tensors_of_half_precision_do():
    classes = torch.eye(4, dtype=torch.bfloat16)
    assert candidates(classes[[3, 1, 3]], classes).classes == (1, 3)


def test_no_keyword_no_candidate():
    found = candidates(np.zeros((0, 4)), np.eye(4))
    assert (found.classes, found.matches) == ((), ())


@pytest.mark.parametrize(
    ("keywords", "classes", "says"),
    [
        (np.ones((1, 3)), np.zeros((0, 3)), "at least one class"),
        (np.ones((1, 3)), np.ones((2, 4)), "one text encoder"),
        (np.ones(3), np.ones((2, 3)), "shape"),
        (np.full((1, 3), np.nan), np.ones((2, 3)), "finite"),
        (np.zeros((1, 3)), np.ones((2, 3)), "direction"),
    ],
)
def test_what_is_refused(keywords, classes, says):
    with pytest.raises(InputError, match=says):
        candidates(keywords, classes)


def test_other_rules_and_wrong_names_are_refused():
    with pytest.raises(InputError, match="'paper' or 'reference', got 'mine'"):
        candidates(np.eye(2), np.eye(2), "mine")
    with pytest.raises(InputError, match="expected 2 names of classes"):
        candidates(np.eye(2), np.eye(2), classes=["a"])
