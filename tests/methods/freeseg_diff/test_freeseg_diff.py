"""FreeSeg-Diff with preset mini: the settings do what they say, on shipped scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.metrics import confusion, miou
from segwright.mini.scenes import THINGS
from segwright.mini.voc import Shipped, read_scenes
from segwright.weights import Networks, load


@pytest.fixture(scope="module")
def networks() -> Networks:
    return load("mini", "cpu")


@pytest.fixture(scope="module")
def scenes() -> Shipped:
    return read_scenes("val", 12)


def score(method: FreeSegDiff, scenes: Shipped) -> float:
    results = method.many(scenes.images, THINGS)
    return miou(np.sum([confusion(t, r.labels, len(THINGS) + 1) for t, r in zip(scenes.truths, results, strict=True)], axis=0))


def test_finds_what_is_in_the_scenes(networks: Networks, scenes: Shipped) -> None:
    """Far above chance: an empty map of these scenes scores about 0.04."""
    assert score(FreeSegDiff(networks), scenes) > 0.12


def test_words_that_are_not_in_the_caption_are_no_candidates(networks: Networks, scenes: Shipped) -> None:
    steps = FreeSegDiff(networks).steps(scenes.images[:4], THINGS)
    for step in steps:
        named = {THINGS[i] for i in step.chosen.candidates}
        said = {k.word for k in step.chosen.keywords}
        assert named & set(THINGS) >= said & set(THINGS)
        assert len(named) <= len(said)
    everything = FreeSegDiff(networks, FreeSegDiffSettings(candidates="none")).steps(scenes.images[:1], THINGS)[0]
    assert everything.chosen.candidates == tuple(range(len(THINGS)))
    assert everything.chosen.caption is None


def test_open_vocabulary_takes_the_captions_nouns(networks: Networks, scenes: Shipped) -> None:
    result = FreeSegDiff(networks)(scenes.images[0])
    assert set(result.words) == {k["word"] for k in result.notes["keywords"]}
    assert not set(result.words) & {"background", "nothing", "pattern"}


def test_clusters_and_seed_are_kept(networks: Networks, scenes: Shipped) -> None:
    for clusters in (1, 3, 6):
        step = FreeSegDiff(networks, FreeSegDiffSettings(clusters=clusters)).steps(scenes.images[:1], THINGS)[0]
        assert len(step.named) == clusters
        assert int(step.regions.max()) == clusters - 1
    first, again = (FreeSegDiff(networks, FreeSegDiffSettings(seed=7))(scenes.images[1], THINGS) for _ in range(2))
    assert np.array_equal(first.labels, again.labels)
    assert first.notes["seed"] == 7


@pytest.mark.parametrize("backbone", ["clip", "rgb"])
def test_other_backbones(networks: Networks, scenes: Shipped, backbone: str) -> None:
    steps = FreeSegDiff(networks, FreeSegDiffSettings(backbone=backbone, refine=None)).steps(scenes.images[:2], THINGS)
    assert all(torch.isfinite(s.features).all() for s in steps)
    assert steps[0].scores.values.shape[1:] == scenes.images[0].shape[:2]


@pytest.mark.parametrize(
    "settings",
    [
        {"refine": "pamr"}, {"refine": None}, {"sharpen_first": True}, {"smooth": True}, {"naming": "published"}, {"fit": "crop"},
        {"captions": "published"}, {"extra_clusters": 1}, {"prompt": "caption"}, {"candidates": "reference"},
        {"candidates": "published"}, {"crop": True}, {"templates": ("a photo of a {}", "{}")},
    ],
    ids=str,
)  # fmt: skip
def test_options_run_and_are_recorded(networks: Networks, scenes: Shipped, settings: dict) -> None:
    result = FreeSegDiff(networks, FreeSegDiffSettings(**settings))(scenes.images[2], THINGS)
    assert result.labels.shape == scenes.images[2].shape[:2]
    for name, value in settings.items():
        assert result.notes["settings"][name] == value


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"backbone": "vgg"}, "backbone must be one of"), ({"clusters": 0}, "at least 1"), ({"refine": "gauss"}, "refine must be"),
     ({"candidates": "clip"}, "candidates must be"), ({"prompt": "x"}, "prompt must be")],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FreeSegDiffSettings(**settings)


def test_bad_photos_words_and_too_many_clusters_are_refused(networks: Networks, scenes: Shipped) -> None:
    method = FreeSegDiff(networks)
    with pytest.raises(InputError, match="a photo must be"):
        method(scenes.images[0].astype(float))  # type: ignore[arg-type]
    with pytest.raises(InputError):
        method(scenes.images[0], ["dog", "Dog"])
    with pytest.raises(InputError):
        method(scenes.images[0], ["x" * 500])
    with pytest.raises(InputError, match="clusters must lie in"):
        FreeSegDiff(networks, FreeSegDiffSettings(clusters=5000))(scenes.images[0], THINGS)
