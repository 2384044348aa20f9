"""What the published code of FreeSeg-Diff does otherwise than the paper, each against a slow twin or another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import distance
from transformers import CLIPImageProcessorPil

from segwright.errors import InputError
from segwright.methods import load_method
from segwright.methods.freeseg_diff.profiles import VOC_19
from segwright.mini.scenes import THINGS
from segwright.mini.voc import Shipped, read_scenes
from segwright.models.diffusion import FeatureSettings
from segwright.models.name_logits import name_vectors
from segwright.models.pixels import Pixels
from segwright.weights import Networks, load
from segwright.words.presence import choose

NAMES = ("dog", "potted plant", "car")


@pytest.fixture(scope="module")
def networks() -> Networks:
    return load("mini", "cpu")


@pytest.fixture(scope="module")
def scenes() -> Shipped:
    return read_scenes("val", 6)


def encoded(networks: Networks, text: str) -> torch.Tensor:
    """(L, D), by the text encoder alone."""
    diffusion = networks.diffusion
    tokenizer, encoder = diffusion.tokenizers[0], diffusion.text_encoders[0]
    length = encoder.config.max_position_embeddings
    tokens = tokenizer([text], padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    with torch.no_grad():
        return encoder(tokens.input_ids).last_hidden_state[0]


def vectors_by_hand(networks: Networks) -> torch.Tensor:
    rows = []
    for name in NAMES:
        parts = torch.stack([encoded(networks, f"A photo of {word}") for word in name.split()])
        count = len(networks.diffusion.tokenizers[0](name).input_ids)
        rows.append(torch.stack(list(parts.mean(0)[1:count])).mean(0))
    return torch.stack(rows)


def test_name_logits_against_a_slow_twin(networks: Networks, scenes: Shipped) -> None:
    """Queries and keys by the layers' own projections, one head and one name at a time; the difference is below 1e-4."""
    diffusion, names = networks.diffusion, vectors_by_hand(networks)
    assert float((name_vectors(diffusion, NAMES) - names).abs().max()) < 1e-6
    settings = FeatureSettings(kind="logits", resolutions=(32,), size=16, noise=False)
    pixels = diffusion.pixels(scenes.images[:1])
    fast = diffusion.features(pixels, settings, names=NAMES)[0]
    queries = diffusion.features(pixels, FeatureSettings(kind="query", resolutions=(32,), size=16, noise=False))[0]
    slow, start = [], 0
    for site in diffusion.sites(settings):
        attn = site.module
        keys = attn.to_k(names)
        width = keys.shape[1]
        query = queries[start : start + width].permute(1, 2, 0)
        start += width
        for head in range(attn.heads):
            part = slice(head * width // attn.heads, (head + 1) * width // attn.heads)
            slow += [(query[..., part] * keys[n, part]).sum(-1) * attn.scale for n in range(len(NAMES))]
    assert fast.shape == (len(slow), 16, 16)
    assert float((fast - torch.stack(slow)).abs().max()) < 1e-4


def test_published_a_and_f_are_joined_as_they_are(networks: Networks, scenes: Shipped) -> None:
    diffusion = networks.diffusion
    pixels = diffusion.pixels(scenes.images[:1])
    alone = [FeatureSettings(kind=kind, resolutions=(32,), balance=False) for kind in ("query", "logits")]
    parts = [diffusion.features(pixels, one, names=NAMES) for one in alone]
    both = diffusion.features(pixels, FeatureSettings(kind="query+logits", resolutions=(32,), balance=False), names=NAMES)
    assert torch.equal(both, torch.cat(parts, 1))
    with pytest.raises(InputError, match="need the names"):
        diffusion.features(pixels, alone[1])
    with pytest.raises(InputError, match="one of cross and logits"):
        FeatureSettings(kind="cross+logits")


@pytest.mark.parametrize("kind", ["attention", "logits", "query+logits"])
def test_a_alone_and_the_published_a_segment(networks: Networks, scenes: Shipped, kind: str) -> None:
    method = load_method("freeseg-diff", "mini", "cpu", features={"kind": kind}, refine=None)
    results = [method(scenes.images[0], words) for words in (THINGS, None)]
    assert all(r.labels.shape == scenes.images[0].shape[:2] for r in results)


def test_candidates_by_the_diffusion_models_text_encoder(networks: Networks, scenes: Shipped) -> None:
    """scipy's correlation distance on means over all tokens; the same candidates in every scene."""
    classes = ("dog", "potted plant", "car", "sofa", "bird", "boat")
    sides = [torch.stack([encoded(networks, f"A photo of {w}") for w in c.split()]).mean(0).mean(0).numpy() for c in classes]
    for chosen in choose(networks, scenes.images, classes, "published"):
        named = [torch.stack([encoded(networks, w) for w in k.word.split()]).mean(0).mean(0).numpy() for k in chosen.keywords]
        table = np.array([[distance.correlation(a, b) for b in sides] for a in named]).reshape(len(named), len(classes))
        least = table.min(1)
        wanted = {int(row.argmin()) for row, value in zip(table, least, strict=True) if value <= least.mean() + 1e-9}
        assert set(chosen.candidates) == wanted
        assert chosen.filter is not None
        assert [m.distance for m in chosen.filter.matches] == pytest.approx(least.tolist(), abs=1e-5)


def test_crop_is_clips_own_processor(networks: Networks) -> None:
    """Against transformers on photos of four shapes; largest difference 2 of 255 a channel, from rounding."""
    draw, clip = np.random.default_rng(0), networks.clip
    side, pixels = clip.pixels.side, Pixels(clip.pixels.side, (0.0,) * 3, (1.0,) * 3)
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, do_normalize=False)
    for shape in ((40, 90), (97, 50), (333, 500), (64, 64)):
        coarse = torch.from_numpy(draw.integers(0, 256, (1, 3, 9, 9), dtype=np.uint8))
        image = torch.nn.functional.interpolate(coarse.float(), shape, mode="bicubic").clamp(0, 255).to(torch.uint8)
        array = image[0].permute(1, 2, 0).numpy()
        theirs = np.asarray(processor(array, return_tensors="np")["pixel_values"][0])
        ours = pixels([clip._cropped(image)[0]])[0].numpy()
        assert np.abs(ours - theirs).max() <= 2.01 / 255
    with pytest.raises(InputError, match="fit must be"):
        clip.embed_images([array], fit="pad")


def test_published_captions(networks: Networks, scenes: Shipped) -> None:
    captioner = networks.captioner
    full = captioner.caption(scenes.images, "a picture of", 3, least=10, longest=30)
    assert all(text.startswith("a picture of") for text in full)
    assert captioner.published(scenes.images) == [text.removeprefix("a picture of").strip() for text in full]
    lengths = [len(captioner.tokenizer(text).input_ids) for text in full]
    assert min(lengths) >= 10
    assert max(lengths) <= 31


def test_open_vocabulary_as_published(networks: Networks, scenes: Shipped) -> None:
    """Adjective and noun are a word, VOC's names compete and are never given."""
    method = load_method("freeseg-diff", "mini", "cpu", profile="published", refine=None)
    steps = method.steps(scenes.images, None)  # type: ignore[attr-defined]
    phrases = [f"{a} {k.word}" for s in steps for k in s.chosen.keywords for a in k.adjectives]
    assert phrases
    assert set(phrases) <= {w for s in steps for w in s.chosen.words}
    for step in steps:
        assert set(step.chosen.prompts) == set(VOC_19) - set(step.chosen.words)
        assert set(step.scores.words) == set(step.chosen.words)


def test_layers_and_size_of_other_backbones(networks: Networks, scenes: Shipped) -> None:
    last, before = (
        load_method("freeseg-diff", "mini", "cpu", backbone="clip", layer=layer, refine=None).features(scenes.images[:1], [None])  # type: ignore[attr-defined,list-item]
        for layer in (-1, -2)
    )
    assert last.shape[2:] == (32, 32)
    assert not torch.equal(last, before)
    native = networks.clip.patch_features(scenes.images[:1], -2)
    assert torch.equal(before, torch.nn.functional.interpolate(native, (32, 32), mode="bilinear", align_corners=False))


def test_adaptive_clusters(networks: Networks, scenes: Shipped) -> None:
    method = load_method("freeseg-diff", "mini", "cpu", extra_clusters=1, refine=None)
    for step in method.steps(scenes.images, THINGS):  # type: ignore[attr-defined]
        assert len(step.named) == max(1, len(step.chosen.candidates) + 1)
