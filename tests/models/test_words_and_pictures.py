from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import CLIPImageProcessorPil

from segwright import weights
from segwright.errors import InputError
from segwright.models.pixels import Pixels, resize


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> weights.Networks:
    folder = tmp_path_factory.mktemp("preset")
    tiny.clip(folder / "clip")
    tiny.captioner(folder / "captioner")
    tiny.backbone(folder / "vit")
    return weights.load(folder, "cpu")


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(3)]
    return [np.kron(c, np.ones((k, k, 1), np.uint8)) for c, k in zip(coarse, (8, 20, 31), strict=True)]


def test_pixels_match_transformers(photos: list) -> None:
    square = photos[1][:100, :100]
    theirs = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})(
        square, return_tensors="pt"
    ).pixel_values
    config = {
        "size": {"shortest_edge": 32},
        "crop_size": 32,
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    ours = Pixels.from_config(config)([square])
    assert (ours - theirs).abs().max() < 0.04  # two grey levels of 255
    assert Pixels.from_config({"size": 24, "resample": 2}).mode == "bilinear"


def test_resizing_keeps_the_whole_frame() -> None:
    image = torch.zeros(1, 3, 50, 200, dtype=torch.uint8)
    image[..., -20:] = 255
    assert resize(image, 32)[0, 0, :, -1].min() > 200
    with pytest.raises(InputError):
        Pixels(8)([np.zeros((4, 4), np.uint8)])
    with pytest.raises(InputError):
        Pixels(8)([torch.zeros(4, 4, 3)])


def test_image_vectors(networks: weights.Networks, photos: list) -> None:
    clip = networks.clip
    found = clip.embed_images(photos, batch=2)
    assert found.shape == (3, 16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(clip.embed_images(photos[2:]), found[2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(clip.embed_images([torch.from_numpy(photos[0]).permute(2, 0, 1)]), found[:1], rtol=1e-4, atol=1e-5)
    assert clip.embed_images([]).shape == (0, 16)
    theirs = clip.model.get_image_features(pixel_values=clip.pixels(photos)).pooler_output
    torch.testing.assert_close(found, torch.nn.functional.normalize(theirs, dim=1), rtol=1e-4, atol=1e-5)


def test_masked_vectors_are_those_of_blackened_photos(networks: weights.Networks, photos: list) -> None:
    clip = networks.clip
    rng = torch.Generator().manual_seed(0)
    masks = [torch.rand(3, 5, 7, generator=rng) > 0.5, torch.rand(2, *photos[1].shape[:2], generator=rng) > 0.3]
    found = clip.embed_masked(photos[:2], masks, batch=4)
    assert [f.shape for f in found] == [(3, 16), (2, 16)]
    blackened = [photos[1] * m.numpy()[:, :, None] for m in masks[1]]
    small = [resize(torch.from_numpy(b).permute(2, 0, 1)[None], 32)[0] for b in blackened]
    torch.testing.assert_close(found[1], clip.embed_images(small), rtol=0.02, atol=0.02)
    whole = clip.embed_masked(photos[:1], [torch.ones(1, 3, 3, dtype=torch.bool)])[0]
    torch.testing.assert_close(whole, clip.embed_images(photos[:1]), rtol=1e-4, atol=1e-5)
    assert clip.embed_masked([], []) == []
    assert clip.embed_masked(photos[:1], [torch.zeros(0, 4, 4, dtype=torch.bool)])[0].shape == (0, 16)
    with pytest.raises(InputError):
        clip.embed_masked(photos, masks)
    with pytest.raises(InputError):
        clip.embed_masked(photos[:1], [torch.ones(4, 4)])


def test_word_vectors(networks: weights.Networks) -> None:
    clip = networks.clip
    words = ["dog", "potted plant", "x" * 500, "dog"]
    found = clip.embed_texts(words)
    assert found.shape == (4, 16)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    assert torch.equal(found[0], found[3])
    torch.testing.assert_close(clip.embed_texts(["potted plant"])[0], found[1])
    assert clip.embed_texts([]).shape == (0, 16)
    templates = ("a photo of a {}", "the {}")
    mean = (clip.embed_texts(["a photo of a dog"]) + clip.embed_texts(["the dog"]))[0]
    torch.testing.assert_close(clip.embed_texts(["dog"], templates)[0], mean / mean.norm(), rtol=1e-4, atol=1e-5)
    for bad in ((), ("a photo",)):
        with pytest.raises(InputError):
            clip.embed_texts(["dog"], bad)


def test_word_vectors_are_remembered(networks: weights.Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = networks.clip
    first = clip.embed_texts(["sheep", "cow"])
    monkeypatch.setattr(clip, "_texts_tower", lambda _: pytest.fail("asked again"))
    assert torch.equal(clip.embed_texts(["cow", "sheep"]), first.flip(0))


def test_patch_features(networks: weights.Networks, photos: list) -> None:
    clip = networks.clip
    last, before = clip.patch_features(photos), clip.patch_features(photos, layer=-2)
    assert last.shape == before.shape == (3, 16, 4, 4)
    assert not torch.equal(last, before)
    assert clip.patch_features(photos, side=64).shape == (3, 16, 8, 8)
    assert clip.logit_scale == pytest.approx(14.29, abs=0.01)
    with pytest.raises(InputError):
        clip.patch_features(photos, layer=-3)


def test_captions(networks: weights.Networks, photos: list) -> None:
    captioner = networks.captioner
    assert (captioner.beams, captioner.longest) == (3, 20)
    found = captioner.caption(photos)
    assert len(found) == 3
    assert all(isinstance(c, str) and "[" not in c for c in found)
    assert found == captioner.caption(photos, batch=1)
    assert captioner.caption(photos, prompt="a photo of")[0].startswith("a photo of")
    assert len(captioner.caption(photos, beams=1)) == 3
    assert captioner.caption([]) == []


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_backbones(tmp_path: Path, photos: list, kind: str) -> None:
    tiny.backbone(tmp_path / "vit", kind)
    vit = weights.load(tmp_path, "cpu").vit
    last = vit.features(photos)
    assert last.shape == vit.features(photos, layer=-2).shape == (3, 16, 4, 4)
    assert not torch.equal(last, vit.features(photos, layer=-2))
    assert vit.features(photos, side=70).shape == (3, 16, 8, 8)
    torch.testing.assert_close(last, vit.features(photos, side=32))
    for bad in ({"layer": 0}, {"layer": -3}, {"side": 5}):
        with pytest.raises(InputError):
            vit.features(photos, **bad)


def test_cropped_vectors_are_those_of_the_square_around_a_region(networks: weights.Networks) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    mask = torch.zeros(3, 60, 90, dtype=torch.bool)
    mask[0, 10:30, 40:60] = True
    mask[1, 50:60, 80:90] = True
    mask[1, 59, 60:90] = True  # 30 wide and 10 high, at the rim: ten black rows above and ten below
    wide = np.zeros((30, 30, 3), np.uint8)
    wide[10:20] = photo[50:60, 60:90] * mask[1, 50:60, 60:90].numpy()[..., None]
    expected = networks.clip.embed_images([photo[10:30, 40:60], wide, np.zeros_like(photo)])
    found = networks.clip.embed_masked([photo], [mask], crop=True)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
