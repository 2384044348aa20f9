"""Words of several names: what a user may write, and that every method takes them as one word."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods import load_method
from segwright.methods.base import Method, NoSettings, as_source
from segwright.runs.segment import identity
from segwright.types import Image, Scores, Segmentation
from segwright.words.synonyms import Word, joined, names_of, spelled
from segwright.words.vocabulary import check_words, parse_words

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


class Toy(Method):
    """Random scores of what it is asked for."""

    name = "toy"
    settings = NoSettings()

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        self.asked = tuple(words or ())
        values = torch.rand(len(self.asked) + 1, *images[0].shape[:2], generator=torch.Generator().manual_seed(1))
        scores = Scores(self.asked, tuple(range(len(values))), values / values.sum(0))
        sure = {word: i / 10 for i, word in enumerate(self.asked)}
        return [Segmentation(self.asked, scores.argmax().numpy(), scores, confidence=sure) for _ in images]

    def identity(self, words: bool | None = None) -> dict[str, Any]:
        return {"method": "toy"}


def test_what_a_user_writes() -> None:
    words = parse_words("dog, red car; automobile ;  Motor  car, traffic light")
    assert words == ("dog", "red car", "traffic light")
    assert [names_of(w) for w in words] == [("dog",), ("red car", "automobile", "Motor car"), ("traffic light",)]
    assert parse_words("sofa; SOFA") == ("sofa",)
    assert check_words(["sofa; couch"]) == check_words(check_words(["sofa; couch"])) == ("sofa",)
    assert spelled(check_words(["a", "sofa;couch"])) == ["a", "sofa; couch"]
    again = pickle.loads(pickle.dumps(words[1]))
    assert names_of(again) == names_of(words[1])
    assert len(check_words([f"word {i}" for i in range(1000)])) == 1000


def test_a_word_that_is_typed_twice_is_one_word() -> None:
    assert parse_words("Apple, APPLE,  apple , sand") == ("Apple", "sand")
    assert spelled(parse_words("sofa; couch, SOFA; couch")) == ["sofa; couch"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "at least one word, got none"),
        ("dog, ; couch", "got an empty one as word 2"),
        ("sofa; couch, Couch", "expected each word once, got 'couch' and 'Couch'"),
        ("sofa; " + "x" * 500, "at most 200 characters, got 500"),
    ],
)
def test_bad_words_in_one_sentence(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        parse_words(text)


def test_a_word_is_the_strongest_of_its_names_against_a_slow_twin() -> None:
    method, words = Toy(), ("dog", "sofa; couch", "car; automobile; auto")
    result = method.many([IMAGE], words)[0]
    assert method.asked == ("dog", "sofa", "couch", "car", "automobile", "auto")
    plain = Toy().many([IMAGE], method.asked)[0]
    values = np.asarray(plain.scores.values) if plain.scores else np.empty(0)
    groups = [[0], [1], [2, 3], [4, 5, 6]]
    highest = np.stack([values[g].max(0) for g in groups])
    assert result.words == ("dog", "sofa", "car")
    assert result.scores is not None
    assert np.allclose(result.scores.values, highest / highest.sum(0))
    assert np.array_equal(result.labels, highest.argmax(0))
    assert np.array_equal(result.labels, [[next(i for i, g in enumerate(groups) if v in g) for v in row] for row in plain.labels])
    assert result.confidence == {"dog": 0.0, "sofa": 0.2, "car": 0.5}
    assert result.notes["synonyms"] == {"sofa": ["couch"], "car": ["automobile", "auto"]}
    assert np.array_equal(method(IMAGE, words).labels, result.labels)
    assert np.array_equal(method.trace(IMAGE, words).segmentation.labels, result.labels)


def test_a_result_for_some_labels_only() -> None:
    scores = Scores(("a", "b", "c"), (0, 2, 3), torch.tensor([0.2, 0.5, 0.3]).view(3, 1, 1))
    result = joined(Segmentation(("a", "b", "c"), np.array([[2]]), scores), check_words(["a", "b; c"]))
    assert result.scores is not None
    assert result.scores.labels == (0, 2)
    assert torch.allclose(result.scores.values.flatten(), torch.tensor([0.2, 0.5]) / 0.7)


@pytest.mark.parametrize("name", ["freeseg-diff", "diffsegmenter", "maskclip"])
def test_methods_take_them_without_knowing(name: str) -> None:
    method = load_method(name, "mini", "cpu", candidates="none")
    result = method(IMAGE, ["dog; hound", "car"])
    assert result.words == ("dog", "car")
    assert set(np.unique(result.labels)) <= {0, 1, 2}


def test_runs_with_other_synonyms_are_other_runs() -> None:
    source = as_source(Toy())
    assert identity(source, check_words(["sofa; couch"])) != identity(source, check_words(["sofa"]))
    assert isinstance(check_words(["sofa; couch"])[0], Word)
