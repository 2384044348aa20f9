"""Each part on small random networks against plain twins; Grad-CAM against the picture's centre on shipped scenes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from torch.nn.functional import interpolate

from segwright.diagnosis import attention, conditioning, features, gradcam
from segwright.diagnosis.subject import DiagnoseSettings, Subject, check_prompt, listing, prompt_with
from segwright.errors import InputError
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.ddim import invert
from segwright.models.vae_features import vae_features
from segwright.weights import Networks, load

SMALL = DiagnoseSettings(steps=2, rounds=1, clusters=(3, 2), cells=8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder = tmp_path_factory.mktemp("preset")
    tiny.diffusion(folder)
    tiny.clip(folder / "clip")
    tiny.captioner(folder / "captioner")
    return load(folder, "cpu")


def subject(words: tuple[str, ...] = ("dog", "potted plant"), seed: int = 0) -> Subject:
    image = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    truth = np.zeros((48, 64), np.int64)
    truth[:20, :30], truth[30:, 40:] = 1, 2
    masks = {w: truth == i + 1 for i, w in enumerate(words)}
    return Subject(f"s{seed}", image, words, f"a photo of {listing(words)}", "a road", truth, masks)


def test_settings_move_to_timesteps_that_are_passed() -> None:
    assert DiagnoseSettings().timesteps == (1, 101, 201, 301, 501)
    assert SMALL.timesteps == (1, 501)
    for bad in ({"timesteps": ()}, {"clusters": (0,)}, {"prompts": ("x",)}, {"threshold": 1.0}, {"steps": 0}):
        with pytest.raises(InputError):
            DiagnoseSettings(**bad)


def test_prompts(networks: Networks) -> None:
    assert listing(("horse", "apple")) == "a horse and an apple"
    assert prompt_with(networks, "a dog on grass", ["dog"]) == "a dog on grass"
    assert prompt_with(networks, "a dog on grass", ["dog", "car"]) == "a photo of a dog and a car"
    with pytest.raises(InputError, match="'car' is not in"):
        check_prompt(networks, "a dog", ["dog", "car"])
    with pytest.raises(InputError, match="beyond its last token"):
        check_prompt(networks, "a dog and " * 20 + "a car", ["dog", "car"])


def test_attention_is_softmax_of_queries_and_keys(networks: Networks) -> None:
    diffusion = networks.diffusion
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    embedding, inputs = diffusion.embed(["a dog"]), {}
    name = "up_blocks.1.attentions.0.transformer_blocks.0.attn2"
    module = diffusion.unet.get_submodule(name)
    handle = module.register_forward_hook(lambda m, args, kwargs, out: inputs.update(hidden=args[0]), with_kwargs=True)
    found = attention.attention(diffusion, latents, 301, embedding)[name][0]
    handle.remove()
    q, k = module.to_q(inputs["hidden"])[0], module.to_k(embedding.tokens)[0]
    width = q.shape[1] // module.heads
    heads = [(q[:, i : i + width] @ k[:, i : i + width].T / width**0.5).softmax(1) for i in range(0, q.shape[1], width)]
    torch.testing.assert_close(found, torch.stack(heads).mean(0), rtol=1e-4, atol=1e-6)


def test_layers_and_their_averages() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {n: torch.rand(1, c, 5, generator=generator) for n, c in (("down_1", 16), ("up_0", 4), ("up_1", 16), ("up_2", 16))}
    layers = attention.word_layers(maps, 0, (1, 3))
    assert torch.allclose(layers["up_1"], maps["up_1"][0][:, [1, 3]].mean(1).view(4, 4))
    wide = interpolate(layers["up_0"][None, None], (4, 4), mode="bilinear")[0, 0]
    assert torch.allclose(layers[attention.MEAN], (wide + layers["up_1"] + layers["up_2"]) / 3)
    sizes = attention.by_size(layers)
    assert list(sizes) == ["2 x 2", "4 x 4"]
    assert torch.allclose(sizes["4 x 4"], (layers["up_1"] + layers["up_2"]) / 2)
    assert attention.alike(layers, layers, 0.5)["up_0"] == {"correlation": pytest.approx(1), "iou": 1}


def test_the_four_cases(networks: Networks) -> None:
    """(a) starts at the seed's noise, (b) and (c) are noised once by the equation, (d) comes back to the photo."""
    diffusion, one = networks.diffusion, subject()
    cases = attention.make_cases(networks, [one], SMALL, [7])
    start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    assert torch.equal(cases.latents["a"](501), start)
    assert cases.pictures[0].shape == (128, 128, 3)
    gauss = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for case, image in (("b", cases.pictures[0]), ("c", one.image)):
        clean, alpha = diffusion.encode(diffusion.pixels([image])), float(diffusion.alphas[501])
        torch.testing.assert_close(cases.latents[case](501), alpha**0.5 * clean + (1 - alpha) ** 0.5 * gauss)
    top = invert(diffusion, clean, diffusion.embed([one.prompt]), 2, 1).latents[-1]
    assert torch.equal(cases.latents["d"](501), top)


def test_attention_records_every_comparison_for_each_word(networks: Networks) -> None:
    records = attention.measure(networks, [subject(), subject(("dog",), 1)], SMALL, [0, 1])
    assert [[r["word"] for r in rows] for rows in records] == [["dog", "potted plant"], ["dog"]]
    for record in records[0] + records[1]:
        assert {f"{case}@{t}" for case in "abcd" for t in (1, 501)} < set(record)
        assert -1 <= record["same"]["501"][attention.MEAN]["correlation"] <= 1
        assert record["last"]["1"] == record["same"]["1"]
        assert 0 <= record["c@1"]["auc"] <= 1
    alone = attention.measure(networks, [subject(("dog",), 1)], SMALL, [1])[0][0]
    assert alone["d@501"]["auc"] == pytest.approx(records[1][0]["d@501"]["auc"], abs=0.02)


def test_features_are_the_balanced_last_blocks(networks: Networks) -> None:
    diffusion = networks.diffusion
    blocks = features.last_blocks(diffusion, SMALL)
    assert blocks.blocks == tuple(f"up_blocks.{b}.resnets.{r}" for b in (2, 3) for r in range(3))
    clean, empty, kept = diffusion.encode(diffusion.pixels([subject().image])), diffusion.embed([""]), []
    modules = [diffusion.unet.get_submodule(name) for name in blocks.blocks]
    handles = [m.register_forward_hook(lambda _m, _i, out: kept.append(out)) for m in modules]
    found = features.take(diffusion, clean, 501, empty, blocks)[0]
    for handle in handles:
        handle.remove()
    assert len(kept) == 6
    at = 0
    for part in kept:
        small = interpolate(part, (8, 8), mode="bilinear", align_corners=False)[0].flatten(1)
        centred = small - small.mean(1, keepdim=True)
        expected = centred / (centred.square().sum() / 64).sqrt()
        torch.testing.assert_close(found[at : at + len(part[0])].flatten(1), expected, rtol=1e-4, atol=1e-4)
        at += len(part[0])
    assert at == len(found)


def test_feature_records(networks: Networks) -> None:
    (record,) = features.measure(networks, [subject()], SMALL)
    kinds = [(s, t, k) for s in features.SOURCES for t in (1, 501) for k in ((3, 2) if t == 501 else (3,))]
    assert set(record) == {f"{s}@{t}@{k}" for s, t, k in kinds}
    assert all(-1 <= r["silhouette"] <= 1 and 0 <= r["match"] <= 1 for r in record.values())


def test_autoencoder_features(networks: Networks) -> None:
    diffusion = networks.diffusion
    seen = diffusion.pixels([subject().image])
    parts = vae_features(diffusion, seen, 8)
    assert [p.shape[1:] for p in parts] == [(8, 8, 8)] * 4
    h = diffusion.vae.encoder.conv_in(seen * 2 - 1)
    for block in diffusion.vae.encoder.down_blocks[:3]:
        h = block(h)
    torch.testing.assert_close(parts[0], interpolate(h, (8, 8), mode="bilinear", align_corners=False), rtol=1e-4, atol=1e-4)
    assert not any(block._forward_hooks for block in diffusion.vae.encoder.down_blocks)


def test_a_variant_is_freeseg_diff_with_those_features(networks: Networks) -> None:
    """U-Net, empty prompt, noise at 0 is the method's own default; every variant gives a record."""
    one, words = subject(), ["dog", "potted plant", "car"]
    found = dict(conditioning.run(networks, [one], words, SMALL))
    assert list(found) == list(conditioning.VARIANTS)
    own = FreeSegDiffSettings(clusters=3, refine=None)
    expected = FreeSegDiff(networks, own)(one.image, words)
    result = found[conditioning.Variant("empty", "unet", True, 0)][0][2]
    assert np.array_equal(result.labels, expected.labels)
    (record,) = conditioning.measure(networks, [one], words, [one.truth], SMALL)  # type: ignore[list-item]
    assert all(sum(c[2] for c in row["cells"]) == 48 * 64 for row in record.values())
    assert 0 <= conditioning.dataset_miou([record], conditioning.VARIANTS[0].name, 4) <= 1


def test_grad_cam_above_its_threshold_beats_the_picture_centre() -> None:
    """On the first held-out scenes; the centre's size is the best on training scenes."""
    mini, settings = load("mini", "cpu"), DiagnoseSettings()
    scenes, records = read_scenes("held", 24), []
    for image, truth, note in zip(scenes.images, scenes.truths, scenes.notes, strict=True):
        words = tuple(dict.fromkeys(note["things"]))
        masks = {w: truth == THINGS.index(w) + 1 for w in words}
        records.append(gradcam.measure(mini, Subject("s", image, words, "", "", truth, masks), settings))
    ours = gradcam.miou(records, f"{settings.prompts[0]} > {settings.threshold}")
    assert ours > gradcam.miou(records, "centre") + 0.03
    assert gradcam.miou(records, "centre") > gradcam.miou(records, "everything")


def test_the_centre_is_an_ellipse() -> None:
    mask = gradcam.centre((100, 200), 0.5)
    assert mask.mean() == pytest.approx(np.pi / 4 * 0.25, abs=0.005)
    assert mask[50, 100]
    assert not mask[0].any()


def test_word_cams_of_one_word_do_not_depend_on_others(networks: Networks) -> None:
    image = subject().image
    both = gradcam.word_cams(networks, image, ["dog", "boat"], "a {}")
    assert both.shape == (2, 12, 16)
    torch.testing.assert_close(gradcam.word_cams(networks, image, ["boat"], "a {}")[0], both[1], rtol=1e-3, atol=1e-4)
    assert both.min() >= 0
    assert both.max() <= 1
