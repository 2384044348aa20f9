from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from segwright import weights
from segwright.errors import InputError
from segwright.models.attention import Recorder, attached
from segwright.models.diffusion import Diffusion, FeatureSettings, noise_schedule


@pytest.fixture(scope="module", params=tiny.SHAPES)
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Diffusion]:
    folder = tiny.diffusion(tmp_path_factory.mktemp(request.param), request.param)
    return request.param, weights.load(folder, "cpu").diffusion


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Diffusion:
    return weights.load(tiny.diffusion(tmp_path_factory.mktemp("sd")), "cpu").diffusion


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((90, 150), (128, 128), (40, 200))]


KINDS = ("resblock", "query", "attention", "cross", "resblock+attention")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resolutions", [(16,), (16, 32), (32, 64)])
def test_stopping_early_changes_no_bit(
    shaped: tuple[str, Diffusion], photos: list, kind: str, resolutions: tuple[int, ...]
) -> None:
    shape, net = shaped
    if shape == "xl" and kind != "resblock" and 64 in resolutions:
        pytest.skip("XL has no attention at 64")
    images = net.pixels(photos)
    early = net.features(images, FeatureSettings(kind, resolutions, size=16))
    full = net.features(images, FeatureSettings(kind, resolutions, size=16, early_stop=False))
    assert early.shape[0] == 3
    assert early.shape[2:] == (16, 16)
    assert early.dtype == torch.float32
    assert torch.isfinite(early).all()
    assert torch.equal(early, full)


def test_stopping_early_leaves_the_rest_undone(diffusion: Diffusion, photos: list) -> None:
    seen = []
    handle = diffusion.unet.up_blocks[2].register_forward_hook(lambda *_: seen.append("up"))
    diffusion.features(diffusion.pixels(photos[:1]))
    assert not seen
    diffusion.features(diffusion.pixels(photos[:1]), FeatureSettings(early_stop=False))
    handle.remove()
    assert seen


def test_the_papers_and_the_published_layers(diffusion: Diffusion) -> None:
    names = [s.name for s in diffusion.sites(FeatureSettings())]
    assert names == [*(f"down_blocks.2.resnets.{i}" for i in (0, 1)), *(f"up_blocks.1.resnets.{i}" for i in (0, 1, 2))]
    queries = [s.name.removesuffix(".transformer_blocks.0.attn2.to_q") for s in diffusion.sites(FeatureSettings("query"))]
    assert queries == [*(f"down_blocks.2.attentions.{i}" for i in (0, 1)), *(f"up_blocks.1.attentions.{i}" for i in (0, 1, 2))]


def test_features_are_the_layers_outputs(diffusion: Diffusion, photos: list) -> None:
    images, kept = diffusion.pixels(photos), []
    handle = diffusion.unet.up_blocks[1].resnets[0].register_forward_hook(lambda _m, _i, out: kept.append(out))
    latents = diffusion.noise(diffusion.encode(images), 0, 0)
    diffusion.predict(latents, 0, diffusion.embed([""] * 3))
    handle.remove()
    found = diffusion.features(images, FeatureSettings(layers=("up",), size=4))
    assert kept[0].shape[2:] == (4, 4)
    torch.testing.assert_close(found[:, : kept[0].shape[1]], kept[0], rtol=1e-5, atol=1e-5)


def test_hooks_and_processors_go_away_even_after_an_error(
    diffusion: Diffusion, photos: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(diffusion.unet.attn_processors)
    images = diffusion.pixels(photos[:1])
    diffusion.features(images, FeatureSettings("resblock+attention"))

    def fail(*_: object) -> None:
        raise ValueError("boom")

    handle = diffusion.unet.mid_block.register_forward_hook(fail)
    with pytest.raises(ValueError, match="boom"):
        diffusion.features(images, FeatureSettings("query+attention"))
    handle.remove()
    assert diffusion.unet.attn_processors == before
    assert not any(m._forward_hooks for m in diffusion.unet.modules())


def test_a_photo_gives_the_same_alone_and_in_a_batch(diffusion: Diffusion, photos: list) -> None:
    images = diffusion.pixels(photos)
    settings = FeatureSettings(timestep=300)
    together = diffusion.features(images, settings, seed=3, batch=2)
    for i in range(3):
        torch.testing.assert_close(diffusion.features(images[i : i + 1], settings, seed=3)[0], together[i], rtol=1e-4, atol=1e-4)
    assert not torch.equal(diffusion.features(images, settings, seed=4), together)


def test_prompts_and_noise_matter(diffusion: Diffusion, photos: list) -> None:
    images = diffusion.pixels(photos[:1])
    empty = diffusion.features(images)
    assert torch.equal(empty, diffusion.features(images, prompts=[""]))
    assert not torch.equal(empty, diffusion.features(images, prompts=["a red dog"]))
    assert not torch.equal(empty, diffusion.features(images, FeatureSettings(noise=False)))
    with pytest.raises(InputError):
        diffusion.features(images, prompts=["a", "b"])


def test_joined_parts_weigh_the_same(diffusion: Diffusion, photos: list) -> None:
    both = diffusion.features(diffusion.pixels(photos), FeatureSettings("resblock+attention", size=8))
    first = diffusion.features(diffusion.pixels(photos[:1]), FeatureSettings(size=8)).shape[1]
    for part in (both[:, :first], both[:, first:]):
        torch.testing.assert_close(part.square().sum(1).mean((1, 2)), torch.ones(3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FeatureSettings("keys"),
        lambda: FeatureSettings("resblock+resblock"),
        lambda: FeatureSettings(resolutions=()),
        lambda: FeatureSettings(resolutions=(12,)),
        lambda: FeatureSettings(layers=("left",)),
        lambda: FeatureSettings(timestep=1000),
        lambda: FeatureSettings(size=0),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], FeatureSettings]) -> None:
    with pytest.raises(InputError):
        make()


def test_layers_that_the_network_lacks_are_named(diffusion: Diffusion, photos: list) -> None:
    with pytest.raises(InputError, match="only at"):
        diffusion.features(diffusion.pixels(photos[:1]), FeatureSettings("query", resolutions=(8,)))


def test_latents_and_back(shaped: tuple[str, Diffusion], photos: list) -> None:
    _, net = shaped
    images = net.pixels(photos)
    assert images.shape == (3, 3, tiny.SIDE, tiny.SIDE)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    latents = net.encode(images)
    assert latents.shape == (3, 4, 16, 16)
    assert torch.equal(latents, net.encode(images))
    assert torch.equal(net.encode(images, seed=1), net.encode(images, seed=1))
    assert not torch.equal(net.encode(images, seed=1), latents)
    assert net.decode(latents).shape == images.shape
    with pytest.raises(InputError):
        net.encode(images[:, :, :100])


def test_the_clean_estimate_inverts_either_prediction(shaped: tuple[str, Diffusion]) -> None:
    shape, net = shaped
    assert net.prediction == ("v_prediction" if shape == "sd21" else "epsilon")
    clean = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    noised = net.noise(clean, 400, seed=5)
    noise = net._gauss(clean, 5)
    alpha = net.alphas[400]
    output = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean if shape == "sd21" else noise.expand_as(clean)
    torch.testing.assert_close(net.clean(noised, 400, output), clean, rtol=1e-4, atol=1e-4)
    assert net.predict(noised, 400, net.embed(["a dog", "x" * 500])).shape == clean.shape


def test_gradients_reach_the_latents(diffusion: Diffusion) -> None:
    latents = torch.randn(1, 4, 16, 16, requires_grad=True)
    diffusion.decode(latents).sum().backward()
    assert latents.grad is not None
    assert not any(p.requires_grad for p in diffusion.unet.parameters())


def test_the_schedule_is_diffusers_own() -> None:
    from diffusers import DDPMScheduler

    for kind in ("linear", "scaled_linear"):
        theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=kind)
        torch.testing.assert_close(noise_schedule(theirs.config), theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError):
        noise_schedule({"beta_schedule": "squaredcos_cap_v2"})


def test_the_recorder_changes_nothing_and_keeps_maps(shaped: tuple[str, Diffusion]) -> None:
    _, net = shaped
    latents = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    embedding = net.embed(["a dog", "a cat", "", "grass"])
    plain = net.predict(latents, 100, embedding)
    modules = [m for m in net.unet.modules() if hasattr(m, "to_q")]
    recorders = {m: Recorder(rows=slice(2, None), keep=True) for m in modules}
    with attached(recorders):
        recorded = net.predict(latents, 100, embedding)
        net.predict(latents, 100, embedding)
    torch.testing.assert_close(recorded, plain, rtol=0, atol=5e-6)  # thirty layers on top of each other
    for recorder in recorders.values():
        assert recorder.calls == 2
        assert recorder.mean.shape[0] == 2
        torch.testing.assert_close(recorder.mean.sum(-1), torch.ones(recorder.mean.shape[:2]), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(p, Recorder) for p in net.unet.attn_processors.values())


def test_one_layers_output_is_the_default_processors(shaped: tuple[str, Diffusion]) -> None:
    _, net = shaped
    rng = torch.Generator().manual_seed(0)
    for module in (m for m in net.unet.modules() if hasattr(m, "to_q")):
        hidden = torch.randn(2, 16, module.to_q.in_features, generator=rng)
        words = (
            None
            if module.to_k.in_features == module.to_q.in_features
            else torch.randn(2, 32, module.to_k.in_features, generator=rng)
        )
        plain = module(hidden, encoder_hidden_states=words)
        with attached({module: Recorder(keep=True)}):
            torch.testing.assert_close(module(hidden, encoder_hidden_states=words), plain, rtol=0, atol=1e-6)


def test_a_bias_moves_attention_to_a_token(diffusion: Diffusion) -> None:
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    embedding = diffusion.embed(["a dog"])
    module = diffusion.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    maps = []
    for strength in (0.0, 20.0):
        bias = torch.zeros(1, 1, 32)
        bias[..., 2] = strength
        recorder = Recorder(keep=True, bias=bias)
        with attached({module: recorder}):
            diffusion.predict(latents, 10, embedding)
        maps.append(recorder.mean[..., 2].mean())
    assert maps[0] < 0.5 < 0.99 < maps[1]
    with pytest.raises(RuntimeError):
        _ = Recorder().mean


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(tmp_path: Path, photos: list, dtype: str) -> None:
    folder = tiny.diffusion(tmp_path)
    exact = weights.load(folder, "cpu").diffusion
    net = weights.load(folder, "cpu", dtype).diffusion
    assert net.vae.dtype == (torch.float32 if dtype == "float16" else torch.bfloat16)
    expected = exact.features(exact.pixels(photos), FeatureSettings("resblock"))
    found = net.features(net.pixels(photos), FeatureSettings("resblock"))
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.99
