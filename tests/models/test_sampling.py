"""Sampling against diffusers' own pipeline, attribution against maps kept one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from hub_fixtures import GENERATORS
from torch.nn.functional import interpolate

from segwright.errors import InputError
from segwright.models.attention import Recorder, attached
from segwright.models.diffusion import LCM_GUIDANCE
from segwright.models.opening import OPENERS
from segwright.models.sampling import SCHEDULERS, SamplingSettings, cross_attentions, places, sample
from segwright.presets import FEW_STEPS
from segwright.weights import load

PROMPT = "A good picture of a potted plant"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.preset(tmp_path_factory.mktemp("sd1"))


def noise(seeds: list[int]) -> torch.Tensor:
    return torch.cat([torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(s)) for s in seeds])


def test_pictures_are_those_of_diffusers_pipeline(folder: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    start = {"latents": noise([3, 4]), "num_inference_steps": 5, "guidance_scale": 4.0, "output_type": "pt"}
    expected = pipeline([PROMPT] * 2, negative_prompt=["blurry"] * 2, **start).images
    diffusion = load(folder, "cpu").diffusion
    diffusion.scheduler_config["steps_offset"] = 1  # the pipeline corrects configs without it, as every real one has it
    found, maps = sample(diffusion, PROMPT, [3, 4], SamplingSettings(5, 4.0, "blurry"))
    assert maps is None
    assert torch.allclose(found, expected, atol=1e-4)
    with_maps, _ = sample(diffusion, PROMPT, [3, 4], SamplingSettings(5, 4.0, "blurry"), "potted plant")
    assert torch.allclose(with_maps, expected, atol=1e-4)


def test_attribution_is_the_sum_over_layers_and_steps_of_the_conditional_half(folder: Path) -> None:
    diffusion, settings = load(folder, "cpu").diffusion, SamplingSettings(3, 2.0, "")
    kept: list[torch.Tensor] = []
    where = places(diffusion, PROMPT, "potted plant")
    _, found = sample(diffusion, PROMPT, [1, 2], settings, "potted plant")
    original, modules = diffusion.predict, cross_attentions(diffusion.unet)

    def spied(*args: object) -> torch.Tensor:
        with attached({m: Recorder(kept.append) for m in modules}):
            return original(*args)

    diffusion.predict = spied  # type: ignore[method-assign, assignment]
    sample(diffusion, PROMPT, [1, 2], settings)
    assert len(kept) == 3 * len(modules)
    total = torch.zeros(2, 64, 64)
    for weights in kept:
        conditional = weights[2:, :, list(where)]
        side = int(conditional.shape[1] ** 0.5)
        square = conditional.permute(0, 2, 1).reshape(2, len(where), side, side)
        total += interpolate(square, (64, 64), mode="bicubic").clamp(min=0).mean(1)
    for picture, expected in zip(found if found is not None else [], total, strict=True):
        assert torch.allclose(picture, (expected - expected.min()) / (expected.max() - expected.min()), atol=1e-5)


@pytest.mark.parametrize("shape", tiny.SHAPES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_and_shape_samples(tmp_path: Path, shape: str, scheduler: str) -> None:
    diffusion = load(tiny.preset(tmp_path, shape), "cpu").diffusion
    guidance = 1.0 if scheduler == "lcm" else 3.0
    settings = SamplingSettings(2, guidance, "", scheduler)
    pictures, maps = sample(diffusion, "a dog", [5], settings, "dog")
    assert pictures.shape == (1, 3, diffusion.image_size, diffusion.image_size)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
    assert maps is not None
    assert maps.shape == (1, 64, 64)
    assert torch.equal(sample(diffusion, "a dog", [5], settings, "dog")[0], pictures)


@pytest.mark.parametrize("name", FEW_STEPS)
def test_few_step_weights_make_what_diffusers_own_pipelines_make(tmp_path: Path, name: str) -> None:
    """Stable Diffusion's without guidance for SD-Turbo, the latent consistency models' for LCM."""
    import diffusers

    shape, config = GENERATORS[name]
    tiny.diffusion(tmp_path, shape)
    (tmp_path / "scheduler/scheduler_config.json").write_text(json.dumps(config), "utf8")
    ours = OPENERS["diffusion"](tmp_path, torch.device("cpu"), torch.float32)
    found, _ = sample(ours, "a dog on grass", [7], FEW_STEPS[name].sampling)
    ours.tokenizers[0].model_max_length = 32
    scheduler = getattr(diffusers, str(config["_class_name"])).from_config(config)
    parts = (ours.vae, ours.text_encoders[0], ours.tokenizers[0], ours.unet, scheduler)
    kind = diffusers.LatentConsistencyModelPipeline if name == "lcm" else diffusers.StableDiffusionPipeline
    pipeline = kind(*parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    start = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(7))
    expected = pipeline(
        "a dog on grass",
        num_inference_steps=4,
        guidance_scale=LCM_GUIDANCE if name == "lcm" else 0.0,
        generator=torch.Generator().manual_seed(7),
        latents=start,
        output_type="pt",
    ).images
    assert torch.allclose(found, torch.as_tensor(expected), atol=1e-5)


def test_words_must_fit(folder: Path) -> None:
    diffusion = load(folder, "cpu").diffusion
    with pytest.raises(InputError, match="does not fit into the 32 tokens"):
        sample(diffusion, "a picture of a " + "dog " * 40, [0], SamplingSettings(1), "dog " * 40)
    with pytest.raises(InputError, match="scheduler must be one of"):
        SamplingSettings(scheduler="euler?")
