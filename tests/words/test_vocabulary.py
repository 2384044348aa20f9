"""Class lists: counts, order and kinds against the benchmarks; and what a user's words may be."""

import json
from pathlib import Path

import pytest

from segwright.errors import InputError
from segwright.words.vocabulary import ALIASES, NAMES, check_words, load, parse_words, read_words_file

TESTDATA = Path(__file__).resolve().parents[3] / "shared" / "testdata"
COUNTS = {  # words, things
    "voc": (20, 20),
    "context59": (59, 31),
    "coco-object": (80, 80),
    "coco-stuff171": (171, 80),
    "coco27": (27, 12),
    "ade20k": (150, 100),
    "cityscapes": (19, 8),
    "mini": (24, 24),
    "mini-stuff": (6, 0),
}


@pytest.mark.parametrize("name", NAMES)
def test_counts_kinds_and_that_the_words_would_pass_as_a_users(name):
    vocabulary = load(name)
    assert (len(vocabulary.words), len(vocabulary.things)) == COUNTS[name]
    assert set(vocabulary.kinds) <= {"thing", "stuff"}
    assert len(vocabulary.kinds) == len(vocabulary.words)
    assert check_words(vocabulary.words) == vocabulary.words
    assert vocabulary.source
    assert vocabulary.terms
    assert {ours for _, ours in vocabulary.renamed} <= set(vocabulary.words)
    assert set(vocabulary.words).isdisjoint({old for old, ours in vocabulary.renamed if old != ours})
    assert set(vocabulary.things) | set(vocabulary.stuff) == set(vocabulary.words)


def test_places_that_the_label_files_fix():
    voc, coco, stuff = load("voc").words, load("coco").words, load("coco-stuff").words
    assert (voc[0], voc[10], voc[14], voc[15], voc[19]) == ("airplane", "table", "person", "potted plant", "monitor")
    assert (coco[0], coco[10], coco[79]) == ("person", "fire hydrant", "toothbrush")
    assert stuff[:80] == coco
    assert list(stuff[80:]) == sorted(stuff[80:])
    assert (stuff[80], stuff[170]) == ("banner", "wood")
    ade = load("ade").words
    assert (ade[0], ade[12], ade[20], ade[126], ade[149]) == ("wall", "person", "car", "animal", "flag")
    city = load("cityscapes").words
    assert (city[0], city[10], city[11], city[18]) == ("road", "sky", "person", "bicycle")
    assert load("coco27").words[:2] == ("electronic", "appliance")
    assert load("coco27").words[-1] == "water"


def test_context_is_alphabetical_by_official_name():
    context = load("context")
    official = {ours: old for old, ours in context.renamed}
    names = [official.get(word, word) for word in context.words]
    assert names == sorted(names)


def test_backgrounds():
    assert {name for name in NAMES if load(name).background} == {"voc", "coco-object", "mini"}


def test_coco_groups_are_the_27():
    groups = load("coco27")
    for name in ("coco-object", "coco-stuff171"):
        vocabulary = load(name)
        assert len(vocabulary.groups) == len(vocabulary.words)
        for kind, group in zip(vocabulary.kinds, vocabulary.groups, strict=True):
            assert groups.kinds[groups.words.index(group)] == kind
    assert set(load("coco-stuff171").groups) == set(groups.words)


def test_coco_against_its_own_annotations():
    file = TESTDATA / "coco/annotations/instances_val2017.json"
    if not file.exists():
        pytest.skip("../shared/testdata has no COCO annotations")
    categories = json.loads(file.read_text())["categories"]
    assert [c["id"] for c in categories] == sorted(c["id"] for c in categories)
    assert load("coco").words == tuple(c["name"] for c in categories)
    official = dict(load("coco27").renamed)
    assert load("coco").groups == tuple(official[c["supercategory"] + "-things"] for c in categories)


def test_mini_against_the_world():
    from importlib.resources import files

    world = json.loads(files("segwright.mini").joinpath("world.json").read_text(encoding="utf-8"))
    assert load("mini").words == tuple(world["things"])
    assert load("mini-stuff").words == tuple(world["stuff"])


def test_every_file_has_a_name_and_every_alias_a_file():
    from importlib.resources import files

    stored = {Path(f.name).stem for f in files("segwright.words").joinpath("vocabularies").iterdir() if f.name.endswith(".json")}
    assert stored == set(NAMES)
    assert all(load(alias).name == name for alias, name in ALIASES.items())
    assert load(" VOC ").name == "voc"


def test_unknown_name():
    with pytest.raises(InputError, match=r"got 'cococo'; use one of voc, .*coco"):
        load("cococo")


def test_parse_words():
    assert parse_words(" dog, sofa ,traffic   light") == ("dog", "sofa", "traffic light")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "at least one word, got none"),
        (["dog", "  "], "got an empty one as word 2"),
        (["dog", "sofa", "Dog"], "got 'dog' and 'Dog'"),
        (["caf\u00e9", "CAFE\u0301"], "once"),
        (["x" * 201], "at most 200 characters, got 201"),
        (["dog\x00"], "control characters"),
        (["a\nb"], "control characters"),
        (["a\u2028b"], "control characters"),
        (["dog", 3], "got int as word 2"),
        ("dog", "got the string 'dog'"),
    ],
)
def test_words_that_are_refused(words, says):
    with pytest.raises(InputError, match=says) as caught:
        check_words(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "  ", "dog,,sofa", "dog,", ","])
def test_texts_that_are_refused(text):
    with pytest.raises(InputError):
        parse_words(text)


def test_words_of_any_script_and_200_characters():
    words = ("собака", "犬", "x" * 200, "👩‍🚒")
    assert check_words(list(words)) == words


def test_read_words_file(tmp_path):
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeff# animals\r\ndog\r\n\r\n  potted plant, sofa\r\n".encode())
    assert read_words_file(file) == ("dog", "potted plant", "sofa")


def test_files_that_are_refused(tmp_path):
    binary, empty, huge = tmp_path / "a.png", tmp_path / "b.txt", tmp_path / "c.txt"
    binary.write_bytes(b"\x89PNG\xff\xfe")
    empty.write_text("# nothing\n")
    huge.write_text("x\n" * 600_000)
    for path, says in ((binary, "UTF-8"), (empty, "at least one word"), (huge, "over 1000000"), (tmp_path, "cannot be read")):
        with pytest.raises(InputError, match=says) as caught:
            read_words_file(path)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        read_words_file(tmp_path / "none.txt")
