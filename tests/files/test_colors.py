"""Colours: a word has one wherever it comes, also where each photo has words of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import segwright as sw
from segwright.files.colors import COUNT, color, color_numbers, word_numbers
from segwright.files.overlay import overlay
from segwright.mini.scenes import draw
from segwright.runs.reading import open_run
from segwright.server.review.app import Pages, Review
from segwright.types import Segmentation

FOUND = {50: ("dog", "sofa", "tree"), 150: ("sofa", "apple", "dog")}  # a photo's grey -> the words in it, by thirds


def found(image: np.ndarray, own_words: bool = False) -> Segmentation:
    labels = np.zeros(image.shape[:2], np.int64)
    for third in range(3):
        labels[:, 20 * third : 20 * third + 20] = third + 1
    return Segmentation(FOUND[int(image[0, 0, 0])], labels, own_words=own_words)


def grey(value: int) -> np.ndarray:
    return np.full((60, 60, 3), value, np.uint8)


def test_a_word_keeps_its_number_in_any_company() -> None:
    words = [f"word {i}" for i in range(100)]
    alone = {word: word_numbers([word])[0] for word in words}
    assert all(1 <= number <= COUNT for number in alone.values())
    assert len(set(alone.values())) > 60, "they are spread"
    for start in range(0, 100, 5):
        five = words[start : start + 5]
        numbers = word_numbers(five)
        assert len(set(numbers)) == 5
        if len({alone[word] for word in five}) == 5:
            assert numbers == tuple(alone[word] for word in five)
    assert word_numbers(["Dog"]) == word_numbers(["dog"])
    assert len(word_numbers([str(i) for i in range(2 * COUNT)])) == 2 * COUNT, "they repeat where there are too few"


def test_two_words_of_one_number_are_told_apart() -> None:
    seen: dict[int, str] = {}
    for word in map(str, range(2000)):
        number = word_numbers([word])[0]
        if number in seen:
            first, second = word_numbers([seen[number], word])
            assert (first, second) == (number, number % COUNT + 1)
            return
        seen[number] = word
    raise AssertionError("no two were alike")


def test_labels_decide_where_there_is_a_vocabulary_and_words_where_there_is_none() -> None:
    assert color_numbers(found(grey(50))) == (1, 2, 3)
    shown = {value: overlay(grey(value), found(grey(value), True), alpha=1.0, legend=False) for value in FOUND}
    side = shown[50].shape[0]
    for value, words in FOUND.items():
        for third, word in enumerate(words):
            pixel = shown[value][side // 2, side * (2 * third + 1) // 6]
            assert tuple(pixel.tolist()) == color(word_numbers([word])[0]), word


def test_a_run_without_vocabulary_has_one_colour_a_word(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for value in FOUND:
        Pillow.fromarray(grey(value)).save(tmp_path / f"in/{value}.png")

    def method(images: Any, words: Any) -> list[Segmentation]:
        return [found(image) for image in images]

    def center(name: str, third: int) -> tuple[int, ...]:
        with Pillow.open(tmp_path / "run" / f"{name}.overlay.png") as picture:
            side = picture.width
            pixel = picture.convert("RGB").getpixel((side * (2 * third + 1) // 6, side // 2))
        assert isinstance(pixel, tuple)
        return tuple(2 * part - int(name) for part in pixel)  # the photo shines through by half

    assert all(outcome.error is None for outcome in sw.segment(tmp_path / "in", method, tmp_path / "run"))
    for name, words in FOUND.items():
        for third, word in enumerate(words):
            assert center(str(name), third) == pytest.approx(color(word_numbers([word])[0]), abs=2), word
    pages = Pages(Review(open_run(tmp_path / "run")))
    for name, words in FOUND.items():
        (tmp_path / "shown.png").write_bytes(pages.overlay(str(name)))
        with Pillow.open(tmp_path / "shown.png") as picture:
            assert picture.getpixel((10, 30)) == (*color(word_numbers([words[0]])[0]), 150), "the review's picture agrees"
    list(sw.segment(tmp_path / "in", method, tmp_path / "given", words=["dog", "sofa", "tree", "apple"]))
    with Pillow.open(tmp_path / "given/50.overlay.png") as picture:
        pixel = picture.convert("RGB").getpixel((picture.width // 6, picture.width // 2))
    assert isinstance(pixel, tuple)
    assert tuple(2 * part - 50 for part in pixel) == pytest.approx(color(1), abs=2)


@pytest.mark.parametrize("name", ["freeseg-diff", "best", "maskclip"])
def test_methods_say_whose_the_words_are(name: str) -> None:
    method, image = sw.load_method(name, "mini", "cpu", refine=None), draw("train", 3, 0).image
    assert method(image).own_words
    assert method.trace(image).segmentation.own_words
    assert not method(image, ["dog", "car"]).own_words
    assert not method.trace(image, ["dog", "car; automobile"]).segmentation.own_words
