"""Prompt templates: counts, form, and articles."""

import pytest

from segwright.errors import InputError
from segwright.words.templates import CLIP_7, GROUPVIT_7, IMAGENET_80, MASKCLIP_85, TEMPLATES, article, fill, fill_all


def test_counts():
    assert [len(t) for t in (IMAGENET_80, CLIP_7, GROUPVIT_7, MASKCLIP_85)] == [80, 7, 7, 85]
    assert set(CLIP_7) <= set(IMAGENET_80)
    assert set(GROUPVIT_7) <= set(IMAGENET_80)
    assert set(CLIP_7) ^ set(GROUPVIT_7) == {"a bad photo of the {}.", "a bad photo of a {}."}


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_has_one_place_for_the_word_and_none_occurs_twice(name):
    templates = TEMPLATES[name]
    assert all(t.count("{}") == 1 for t in templates)
    assert len(set(templates)) == len(templates)


def test_fill_is_literal_unless_asked():
    assert fill("A photo of a {}", "umbrella") == "A photo of a umbrella"
    assert fill("A photo of a {}", "umbrella", articles=True) == "A photo of an umbrella"
    assert fill("a {} in a video game.", "apple", articles=True) == "an apple in a video game."
    assert fill("A {}", "apple", articles=True) == "An apple"
    assert fill("a photo of a large {}.", "apple", articles=True) == "a photo of a large apple."
    assert fill("the {}", "a{0}b{}", articles=True) == "the a{0}b{}"
    assert fill("pizza {}", "apple", articles=True) == "pizza apple"
    assert fill_all(GROUPVIT_7[:2], "cat") == ("itap of a cat.", "a bad photo of a cat.")


@pytest.mark.parametrize(
    "word",
    ["umbrella", "apple", "elephant", "airplane", "oven", "hour", "heir", "SUV", "x-ray", "urn", "uncle", "onion", "unmade-bed"],
)
def test_an(word):
    assert article(word) == "an"


@pytest.mark.parametrize(
    "word", ["dog", "unicycle", "uniform", "utensil", "ukulele", "ufo", "ewe", "eucalyptus", "tv", "one-way", "USB", "house"]
)
def test_a(word):
    assert article(word) == "a"


@pytest.mark.parametrize("template", ["a photo", "{} and {}", ""])
def test_templates_that_are_refused(template):
    with pytest.raises(InputError, match="once where the word goes"):
        fill(template, "dog")
