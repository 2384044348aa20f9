"""DiffSegmenter: the whole pass against hooks on queries and keys, on all shapes of U-Net; the parts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from segwright.errors import InputError
from segwright.methods.diffsegmenter import DiffSegmenter, DiffSegmenterSettings, weigh, with_verb, word_map
from segwright.metrics import confusion, miou
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.diffusion import Diffusion, Embedding
from segwright.models.sites import Site, find_sites
from segwright.models.tokens import word_places
from segwright.weights import Networks, load


@pytest.fixture(scope="module")
def mini() -> Networks:
    return load("mini", "cpu")


def attention_of_a_pass(diffusion: Diffusion, latents: torch.Tensor, embedding: Embedding) -> tuple[list[Site], dict]:
    """Every attention's map, (queries, keys), mean over heads, from queries and keys as they leave their layers."""
    sites = [s for s in find_sites(diffusion.unet) if s.kind in ("attention", "cross")]
    caught: dict[tuple[Site, str], torch.Tensor] = {}
    handles = []
    for site in sites:
        for part in ("to_q", "to_k"):

            def keep(_module: object, _inputs: object, output: torch.Tensor, key: tuple[Site, str] = (site, part)) -> None:
                caught[key] = output[0]

            handles.append(getattr(site.module, part).register_forward_hook(keep))
    with torch.no_grad():
        diffusion.predict(latents, 100, embedding)
    for handle in handles:
        handle.remove()
    maps = {}
    for site in sites:
        q, k, heads = caught[site, "to_q"], caught[site, "to_k"], site.module.heads
        d = q.shape[1] // heads
        maps[site] = (
            sum((q[:, h * d : (h + 1) * d] @ k[:, h * d : (h + 1) * d].T / d**0.5).softmax(1) for h in range(heads)) / heads
        )
    return sites, maps


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_maps_are_the_attention_of_one_pass_a_class(tmp_path_factory: pytest.TempPathFactory, shape: str) -> None:
    """Queries and keys are caught as they leave their layers; the rest is done here, with weighted means written out."""
    folder = tiny.diffusion(tmp_path_factory.mktemp(shape), shape)
    networks = load(folder, "cpu")
    diffusion = networks.diffusion
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    words = ["dog", "potted plant", "boat", "car", "apple"]
    method = DiffSegmenter(networks, DiffSegmenterSettings(caption=False, emphasis=1.5))
    found = method.maps(photo, words)
    latents = diffusion.noise(diffusion.encode(diffusion.pixels([photo])), 100, 0)
    empty = diffusion.embed([""]).tokens
    for row, word in enumerate(words):
        text = f"a photograph of {word}"
        places = list(word_places(diffusion.tokenizers[0], text, word))
        embedding = diffusion.embed([text])
        embedding.tokens[:, places] = empty[:, places] + 1.5 * (embedding.tokens[:, places] - empty[:, places])
        sites, maps = attention_of_a_pass(diffusion, latents, embedding)
        finest = max(s.resolution for s in sites if s.kind == "attention")
        own = torch.stack([maps[s] for s in sites if s.kind == "attention" and s.resolution == finest]).mean(0)
        n = round(len(own) ** 0.5)
        weights = {8: 0.3, 16: 0.5, 32: 0.1, 64: 0.1}
        there = sorted({s.resolution for s in sites if s.kind == "cross"})
        mixed = torch.zeros(n, n)
        for r in there:
            cross = torch.stack([maps[s] for s in sites if s.kind == "cross" and s.resolution == r]).mean(0)
            side = round(len(cross) ** 0.5)
            one = torch.nn.functional.interpolate(cross[:, places].mean(1).view(1, 1, side, side), (n, n), mode="bilinear")[0, 0]
            mixed += weights[r] / sum(weights[t] for t in there) * (one - one.min()) / max(float(one.max() - one.min()), 1e-7)
        torch.testing.assert_close(found[row], (own @ mixed.flatten()).view(n, n), rtol=2e-3, atol=2e-3)


def test_weights_of_missing_resolutions_go_to_the_others() -> None:
    ramp = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    found = weigh({16: ramp, 32: 4 - ramp}, {8: 0.3, 16: 0.5, 32: 0.1, 64: 0.1}, 2)
    expected = (5 / 6) * ramp / 4 + (1 / 6) * (4 - ramp) / 4
    torch.testing.assert_close(found, expected)
    attention = torch.arange(12.0).view(4, 3)
    assert word_map(attention, (0, 2)).tolist() == [[1.0, 4.0], [7.0, 10.0]]
    assert not word_map(attention, ()).any()


def test_prompts_go_on_as_the_captioner_does(mini: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = read_scenes("val", 1).images[0]
    method = DiffSegmenter(mini)
    said = {"dog": "a photograph of dog on grass", "[x]": "a photograph of on grass"}
    monkeypatch.setattr(mini.captioner, "caption", lambda _images, opening: [said[opening.removeprefix("a photograph of ")]])
    assert method.prompt(photo, "dog") == "a photograph of dog on grass"
    assert method.prompt(photo, "[x]") == "a photograph of [x]"  # a word that the captioner cannot write
    plain = DiffSegmenter(mini, DiffSegmenterSettings(caption=False, opening="the {}"))
    assert plain.prompt(photo, "dog") == "the dog"


def test_emphasis_moves_the_words_tokens_alone(mini: Networks) -> None:
    method = DiffSegmenter(mini, DiffSegmenterSettings(emphasis=2.0))
    texts = ["a photograph of dog"]
    before, empty = mini.diffusion.embed(texts).tokens, mini.diffusion.embed([""]).tokens
    after = method.embed(texts, [(4,)]).tokens
    torch.testing.assert_close(after[0, 4], 2 * before[0, 4] - empty[0, 4])
    assert torch.equal(torch.cat([after[:, :4], after[:, 5:]], 1), torch.cat([before[:, :4], before[:, 5:]], 1))


def test_finds_what_is_in_the_scenes(mini: Networks) -> None:
    scenes = read_scenes("val", 5)
    method = DiffSegmenter(mini, DiffSegmenterSettings(candidates="none"))
    matrices = []
    for image, truth, note in zip(scenes.images, scenes.truths, scenes.notes, strict=True):
        result = method(image, note["things"])
        place = np.array([0, *(1 + THINGS.index(w) for w in result.words)])
        matrices.append(confusion(truth, place[result.labels], len(THINGS) + 1))
    assert miou(np.sum(matrices, axis=0)) > 0.2


def test_what_does_not_fit_is_refused(mini: Networks) -> None:
    bad: list[dict] = [{"timestep": 1000}, {"threshold": 2}, {"opening": "a photo"}, {"weights": ()}, {"weights": ((7, 1.0),)}]
    for settings in bad:
        with pytest.raises(InputError):
            DiffSegmenterSettings(**settings)
    with pytest.raises(InputError, match="no cross-attention at resolutions"):
        DiffSegmenter(mini, DiffSegmenterSettings(candidates="none", weights=((64, 1.0),)))(np.zeros((9, 9, 3), np.uint8), ["dog"])


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [("a photograph of a dog running fast", "dog", (5, 6)), ("a photograph of a dog on grass", "dog", (5,)),
     ("a photograph of a sofa", "sofa", (5,)), ("a photograph of a potted plant hanging", "potted plant", (5, 6, 7))],
)  # fmt: skip
def test_a_word_in_ing_right_after_the_class_counts_with_it(text: str, word: str, expected: tuple[int, ...]) -> None:
    """Published: tokens 4 and 5 of "a photograph of X Y" where Y ends in "ing"."""
    tokens = ["", *text.split()]
    first = next(i for i in range(len(tokens)) if tokens[i : i + len(word.split())] == word.split())
    places = tuple(range(first, first + len(word.split())))
    assert with_verb(text, places, word, 77) == expected
    assert with_verb(text, places, word, places[-1] + 1) == places  # the context ends there
