"""Nouns of captions: wordings one by one, every caption of the miniature world's grammar, and real COCO captions."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segwright.mini.captions import BARE_GROUNDS, GROUNDS, OPENINGS, listing, with_article
from segwright.words.nouns import Keyword, keywords, singular
from segwright.words.vocabulary import load

TESTDATA = Path(__file__).resolve().parents[3] / "shared" / "testdata"
THINGS, STUFF = load("mini").words, load("mini-stuff").words
OPENED = sorted(set(OPENINGS))


def words(caption):
    return [k.word for k in keywords(caption)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red car", ["car"]),
        ("a tennis racket on a dining table", ["tennis racket", "dining table"]),
        ("a potted plant, a stuffed animal and a hot dog", ["potted plant", "stuffed animal", "hot dog"]),
        ("a donut with chocolate glaze", ["donut", "chocolate glaze"]),
        ("Two BUSES and some people", ["bus", "person"]),
        ("a bus on grass", ["bus", "grass"]),
        ("a man in glasses with skis and scissors", ["man", "glasses", "skis", "scissors"]),
        ("two glasses of wine and wine glasses", ["glass", "wine", "wine glass"]),
        ("children, geese, mice and knives", ["child", "goose", "mouse", "knife"]),
        ("a herd of sheep near a pair of scissors", ["sheep", "scissors"]),
        ("a picture of the front of a bus", ["bus"]),
        ("a close up of a pizza on top of a table", ["pizza", "table"]),
        ("a mountain view with telephone lines", ["mountain", "telephone line"]),
        ("an orange cat eats an orange", ["cat", "orange"]),
        ("an apple, orange and banana", ["apple", "orange", "banana"]),
        ("a red and orange balloon", ["balloon"]),
        ("a remote on a couch", ["remote", "couch"]),
        ("a toaster and sink.", ["toaster", "sink"]),
        ("trains on the train tracks", ["train", "train track"]),
        ("a train", ["train"]),
        ("a man on motor bikes with a lap top", ["man", "motorbike", "laptop"]),
        ("the woman's handbag", ["woman", "handbag"]),
        ("the woman’s handbag", ["woman", "handbag"]),
        ("a man riding horses", ["man", "horse"]),
        ("a man is surfing", ["man"]),
        ("there are cows", ["cow"]),
        ("people work behind it", ["person"]),
        ("a dog and a dog and two dogs", ["dog"]),
        ("a school bus in front of a school", ["school bus", "school"]),
        ("a light blue sky", ["sky"]),
        ("a black and white photo of a dog", ["dog"]),
        ("a male is wearing white", ["male"]),
        ("a group of people and a couple of trains", ["person", "train"]),
        ("a married couple", ["couple"]),
        ("a pattern", []),
        ("nothing on nothing", []),
        ("the background", []),
        ("", []),
        (" \n\t", []),
        ("... !? 12 8:25 \U0001f600", []),
        ("cats/dogs &slash; a_b", ["cat", "dog"]),
        ("\U0001f600 a café", ["café"]),
    ],
)
def test_wordings(caption, expected):
    assert words(caption) == expected


def test_what_a_keyword_tells():
    first, second = keywords("Several old red Cars near a parked fire truck")
    assert first == Keyword("car", "old red Cars", ("old", "red"))
    assert second == Keyword("fire truck", "parked fire truck", ("parked",))


@pytest.mark.parametrize(
    "word", ["bus", "tennis", "grass", "glasses", "skis", "scissors", "sheep", "jeans", "stairs", "lens", "cactus", "person"]
)
def test_words_that_singular_leaves_alone(word):
    assert singular(word) == word


def expected_of(caption, things):
    return [*things, *(s for s in STUFF if re.search(rf"\b{s}$", caption))]


def test_the_worlds_captions_of_one_thing():
    endings = ["", *sorted(set(BARE_GROUNDS)), *(" " + g.format(s) for g in sorted(set(GROUNDS)) for s in STUFF)]
    for i, thing in enumerate(THINGS):
        for j, ending in enumerate(endings):  # every ending, and below every opening, with every thing
            caption = OPENED[(i + j) % len(OPENED)] + with_article(thing) + ending
            assert words(caption) == expected_of(caption, [thing]), caption
        for opening in OPENED:
            assert words(opening + with_article(thing)) == [thing]


def test_the_worlds_captions_of_two_and_three_things():
    colours = ("red", "green", "blue", "yellow", "orange")
    for i, (a, b) in enumerate(itertools.permutations(THINGS, 2)):
        caption = listing([f"{colours[i % 5]} {a}", b] if i % 2 else [a, f"{colours[i % 5]} {b}"])
        assert words(caption) == [a, b], caption
    for i in range(len(THINGS)):
        three = [THINGS[i], THINGS[(i + 7) % 24], THINGS[(i + 13) % 24]]
        assert words(listing(three) + " in front of sky") == [*three, "sky"]


def test_the_worlds_captions_without_things():
    for opening in OPENED:
        assert words(opening + "nothing") == []
        for stuff in STUFF:
            assert words(opening + stuff) == [stuff]


def mentions(caption):
    """COCO categories that stand in the caption literally, singular or plural, the longest name at each place."""
    tokens = [singular(t) if t.endswith("s") or t == "people" else t for t in re.findall(r"[\w'-]+", caption.lower())]
    found = {n for n in load("coco").words for i in range(len(tokens)) if tokens[i : i + len(n.split())] == n.split()}
    return {n for n in found if not any(n != m and n in m.split() for m in found)}


def test_recall_on_real_captions():
    file = TESTDATA / "coco/annotations/captions_val2017.json"
    if not file.exists():
        pytest.skip("../shared/testdata has no COCO captions")
    exact = inside = total = 0
    for annotation in json.loads(file.read_text())["annotations"]:
        got = words(annotation["caption"])
        for name in mentions(annotation["caption"]):
            total += 1
            exact += name in got
            inside += any(set(name.split()) <= set(g.split()) for g in got)
    assert total > 190
    assert exact / total > 0.92  # the rest are parts of longer compounds: "wedding cake", "city bus"
    assert inside == total


def test_the_tagger_is_loaded_only_when_it_is_needed():
    code = "import sys, segwright.words.nouns; print({'textblob', 'lemminflect', 'nltk'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
