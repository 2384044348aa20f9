"""Profiles: literal data that fills in what nothing else was chosen for, whole and sourced for every method of a paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from segwright.datasets import DATASETS, open_dataset
from segwright.errors import InputError
from segwright.evaluation.protocols import PROTOCOLS, settings_for
from segwright.methods import METHODS, find_method, load_method
from segwright.methods.base import MethodSpec, with_profile
from segwright.presets import CHOICES, PRESETS
from segwright.profiles import NAMES
from segwright.words.published import LISTS, class_names, published_names
from segwright.words.stuff import known_stuff, published_stuff
from segwright.words.synonyms import names_of
from segwright.words.vocabulary import check_words, load

ALL = [(name, profile) for name in METHODS for profile in find_method(name).profiles]


def rows(name: str, profile: str) -> list[tuple[str | None, str, Any, str]]:
    found = find_method(name).profiles[profile]
    parts = {None: found.values, **found.data}
    return [(data, path, value, source) for data, there in parts.items() for path, (value, source) in there.items()]


def test_every_paper_has_its_profiles() -> None:
    both = {"freeseg-diff", "ovdiff", "maskclip", "sclip", "diffsegmenter", "groupvit", "clip-es"}
    assert {name for name, _ in ALL} >= both | {"iseg", "cliper"}
    assert all(set(find_method(name).profiles) == set(NAMES) for name in both)


@pytest.mark.parametrize(("name", "profile"), ALL)
def test_every_value_has_a_source_and_is_one_that_the_method_takes(name: str, profile: str) -> None:
    kind = find_method(name)
    for data, path, value, source in rows(name, profile):
        assert len(source) > 3, path
        assert data is None or data in DATASETS, data
        if path == "names":
            assert value in LISTS
        elif path == "preset":
            assert value in PRESETS
        elif path in CHOICES:
            assert value in CHOICES[path]
    for data in (None, *kind.profiles[profile].data):
        spec = MethodSpec(name, profile=profile, data=data).filled()
        kind.checked(spec.settings)
        assert spec.profile is None


@pytest.mark.parametrize(("name", "profile"), ALL)
def test_what_is_chosen_goes_before_a_profile(name: str, profile: str) -> None:
    spec = MethodSpec(name, profile=profile).with_texts(["seed=7"])
    assert spec.filled().settings["seed"] == 7
    assert replace(spec, preset="mini").filled().preset == "mini"
    assert not {*replace(spec, preset="mini").filled().extras} & {*CHOICES}, "what ships keeps its own networks"
    assert spec.filled().preset == find_method(name).profiles[profile].values["preset"][0]
    given = MethodSpec(name, extras={"clip": "clip-b32"}, profile=profile).filled()
    assert given.extras["clip"] == "clip-b32"


def test_identity_follows_from_what_a_profile_fills_in() -> None:
    plain, published = (MethodSpec("sclip", "mini", "cpu", profile=p).identity(words=True) for p in (None, "published"))
    assert plain["settings"] != published["settings"]
    filled = MethodSpec("sclip", "mini", "cpu", profile="published").filled()
    assert filled.identity(words=True) == published
    assert load_method("sclip", "mini", "cpu", profile="published").settings == filled.load().settings


def test_unknown_profiles_are_refused() -> None:
    with pytest.raises(InputError, match="has no profile 'paper'; it has none"):
        MethodSpec("best", profile="paper")
    with pytest.raises(InputError, match=r"sclip has no profile 'x'; it has paper, published"):
        load_method("sclip", "mini", "cpu", profile="x")


def test_settings_of_a_data_set_stand_before_protocol_and_background() -> None:
    dataset = replace(open_dataset("mini").first(1), name="context", background=True)
    spec = MethodSpec("sclip", profile="published").for_data("context")
    assert settings_for(PROTOCOLS["segwright"], spec, dataset) == {}
    filled = spec.filled().settings
    assert (filled["scale"], filled["background"], filled["area"]) == (0.5, ("background",), 0.0)
    without = replace(dataset, name="elsewhere", background=False)
    wanted = settings_for(PROTOCOLS["segwright"], MethodSpec("sclip", profile="published").for_data("elsewhere"), without)
    assert wanted == {"background": (), "threshold": 0.0, "area": 0.0}


def test_groupvits_threshold_on_context() -> None:
    thresholds = {d: MethodSpec("groupvit", profile="published", data=d).filled().settings["threshold"] for d in ("voc", "context")}
    assert thresholds == {"voc": 0.95, "context": 0.35}


def test_published_names_are_of_known_classes() -> None:
    vocabularies = {"voc20": "voc", "voc-c": "voc", "context": "context59", "coco-stuff": "coco-stuff171"}
    for listed in LISTS:
        for data, names in published_names(listed).items():
            words = load(vocabularies.get(data, data)).words
            assert set(names) <= set(words), (listed, data)
            check_words(class_names(listed, data, words, words))
    voc = load("voc").words
    found = class_names("sclip", "voc", voc, voc)
    assert [len(names_of(found[voc.index(word)])) for word in ("person", "monitor", "dog")] == [7, 5, 1]
    coco = load("coco-object").words
    assert len(names_of(class_names("sclip", "coco-object", coco, coco)[0])) == 8
    assert class_names(None, "voc", voc, voc) == voc
    with pytest.raises(InputError, match="a list of published names"):
        class_names("nosuch", "voc", voc, voc)


def test_stuff() -> None:
    """Counted in the published list: 19 of Context's 59."""
    assert len(set(published_stuff()) & set(load("context59").words)) == 19
    assert known_stuff(["dog", "green grass", "Brick walls", "sea", "toy car", "water bottle"]) == (
        "green grass",
        "Brick walls",
        "sea",
    )
    assert set(load("mini-stuff").words) == set(known_stuff(load("mini-stuff").words))


def test_a_folders_own_networks_stay() -> None:
    preset, given = with_profile(find_method("sclip"), "published", "mini", {"scale": 0.2})
    assert (preset, given["scale"], "clip" in given) == ("mini", 0.2, False)
    preset, given = with_profile(find_method("sclip"), "published", None, {})
    assert (preset, given["clip"]) == ("sd15", "clip-b16")
