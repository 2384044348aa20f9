"""The cache around networks: bounded, by content, and invisible to whoever calls them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from segwright.methods.freeseg_diff.method import FreeSegDiff
from segwright.mini.voc import read_scenes
from segwright.models.cache import Cache, cached, digest, size_of
from segwright.models.clip import Clip
from segwright.models.diffusion import Diffusion
from segwright.weights import Networks, load


@pytest.fixture(scope="module")
def mini() -> Networks:
    return load("mini", "cpu")


def test_the_latest_results_up_to_the_limit_are_kept() -> None:
    cache = Cache(most=100)
    for key in "abc":
        cache.keep(key, torch.zeros(10))
    assert [cache.get(key) is not None for key in "abc"] == [False, True, True]
    assert cache.size == 80
    cache.get("b")
    cache.keep("d", (torch.zeros(5), np.zeros(2)))
    assert [cache.get(key) is not None for key in "bcd"] == [True, False, True]
    cache.keep("e", torch.zeros(26))
    assert cache.get("e") is None, "larger than the limit"
    assert size_of({"x": (torch.zeros(3), np.zeros(2))}) == 28


def test_arguments_are_known_by_their_content() -> None:
    photo = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert digest([photo, "a", 1]) == digest([photo.copy(), "a", 1])
    others = (
        [photo[::-1], "a", 1],
        [photo.reshape(2, 3, 2), "a", 1],
        [photo.astype(np.int8), "a", 1],
        [photo, "b", 1],
        [photo, "a", True],
    )
    assert len({digest([photo, "a", 1]), *map(digest, others)}) == 1 + len(others)
    assert digest(["a", ["b"]]) != digest([["a"], "b"])
    assert digest(torch.zeros(2, dtype=torch.bfloat16)) != digest(torch.ones(2, dtype=torch.bfloat16))


def test_a_method_gives_the_same_bits_and_asks_no_network_twice(mini: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    images = read_scenes("val", 2).images
    plain, wrapped = FreeSegDiff(mini), FreeSegDiff(cached(mini, Cache()))
    expected = plain.many(images, ["sofa", "tv"])
    wrapped.many(images, ["dog", "car"])
    monkeypatch.setattr(Diffusion, "features", lambda *_, **__: pytest.fail("the U-Net was asked again"))
    monkeypatch.setattr(Clip, "embed_masked", lambda *_, **__: pytest.fail("CLIP was asked again"))
    for one, two in zip(expected, wrapped.many(images, ["sofa", "tv"]), strict=True):
        assert one.scores is not None
        assert two.scores is not None
        assert torch.equal(one.scores.values, two.scores.values)
    assert wrapped.identity() == plain.identity()


def test_networks_with_other_parts_share_nothing(mini: Networks) -> None:
    cache, calls = Cache(), []

    class Counting:
        def caption(self, images: list[np.ndarray]) -> list[str]:
            calls.append(len(images))
            return ["a dog"] * len(images)

    photo = np.zeros((4, 4, 3), np.uint8)
    for dtype in (torch.float32, torch.float32, torch.bfloat16):
        networks = replace(mini, dtype=dtype)
        vars(networks)["captioner"] = Counting()
        assert cached(networks, cache).captioner.caption([photo]) == ["a dog"]
    assert calls == [1, 1]
