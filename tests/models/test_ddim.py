"""DDIM against diffusers' own scheduler and a plain twin of its equation; there and back again."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from diffusers import DDIMScheduler

from segwright.errors import InputError
from segwright.mini.voc import read_scenes
from segwright.models.ddim import generate, invert, move, nearest, timesteps, to_noise
from segwright.models.diffusion import Diffusion, Embedding
from segwright.weights import load


@pytest.fixture(scope="module", params=["sd1", "sd21", "xl"])
def diffusion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Diffusion:
    """Noise, velocity, and pooled prompts; damped, for random networks jump about as no trained one does."""
    diffusion = load(tiny.diffusion(tmp_path_factory.mktemp(request.param), request.param), "cpu").diffusion
    for p in diffusion.unet.conv_out.parameters():
        p.mul_(0.3)
    return diffusion


def latents(count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_generation_is_diffusers_ddim(diffusion: Diffusion) -> None:
    known = {k: v for k, v in diffusion.scheduler_config.items() if not k.startswith("_")}
    scheduler = DDIMScheduler.from_config(
        known, steps_offset=1, set_alpha_to_one=False, clip_sample=False, timestep_spacing="leading"
    )
    scheduler.set_timesteps(7)
    prompt, empty, here = diffusion.embed(["a dog", "a cat"]), diffusion.embed(["", ""]), latents()
    path = generate(diffusion, here, prompt, 7, 3.0, negative=empty)
    assert path.times == (0, *reversed(scheduler.timesteps.tolist())) == timesteps(7)
    with torch.no_grad():
        for t in scheduler.timesteps.tolist():
            torch.testing.assert_close(path.at(t), here, rtol=1e-4, atol=1e-4)
            with_prompt, without = diffusion.predict(here, t, prompt), diffusion.predict(here, t, empty)
            here = scheduler.step(without + 3 * (with_prompt - without), t, here).prev_sample
    torch.testing.assert_close(path.at(0), here, rtol=1e-4, atol=1e-4)


def test_a_step_up_is_the_equation(diffusion: Diffusion) -> None:
    """One number at a time, from Song et al.'s Eq. 12 and the definition of velocity."""
    x, output = latents(1), latents(1, 1)
    a, b = (float(diffusion.alphas[t]) for t in (101, 601))
    found = move(diffusion, x, 101, 601, to_noise(diffusion, x, 101, output))
    for i in range(0, 1024, 97):
        here, said = float(x.flatten()[i]), float(output.flatten()[i])
        velocity = diffusion.prediction == "v_prediction"
        clean = math.sqrt(a) * here - math.sqrt(1 - a) * said if velocity else (here - math.sqrt(1 - a) * said) / math.sqrt(a)
        noise = math.sqrt(a) * said + math.sqrt(1 - a) * here if velocity else said
        assert float(found.flatten()[i]) == pytest.approx(math.sqrt(b) * clean + math.sqrt(1 - b) * noise, rel=1e-4, abs=1e-4)


def test_there_and_back_again(diffusion: Diffusion) -> None:
    """To within 1 % of the latents' spread in 5 steps, after eight rounds a step."""
    start, prompt = latents(), diffusion.embed(["a dog", "a cat"])
    up = invert(diffusion, start, prompt, 5, 8)
    down = generate(diffusion, up.latents[-1], prompt, 5)
    assert torch.equal(up.at(0), start)
    assert float((up.at(801) - start).square().mean()) > 0.1
    assert float((down.at(0) - start).square().mean().sqrt() / start.std()) < 0.01


def test_a_trained_network_returns_to_a_drawn_scene() -> None:
    """Preset mini, velocity: plain inversion to within 30 % of the latents' spread in 10 steps, four rounds to within 5 %."""
    mini = load("mini", "cpu").diffusion
    start, prompt = mini.encode(mini.pixels(read_scenes("val", 1).images)), mini.embed(["a picture"])
    errors = []
    for rounds in (1, 4):
        back = generate(mini, invert(mini, start, prompt, 10, rounds).latents[-1], prompt, 10)
        errors.append(float((back.at(0) - start).square().mean().sqrt() / start.std()))
    assert errors[1] < 0.05 < errors[0] < 0.3


def test_a_row_does_not_depend_on_its_company(diffusion: Diffusion) -> None:
    both = invert(diffusion, latents(), diffusion.embed(["a dog", "a cat"]), 3).latents[-1]
    alone = invert(diffusion, latents()[1:], diffusion.embed(["a cat"]), 3).latents[-1]
    torch.testing.assert_close(alone[0], both[1], rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused(diffusion: Diffusion) -> None:
    prompt = Embedding(torch.zeros(1, 1, 1))
    with pytest.raises(InputError, match="steps must"):
        timesteps(1000)
    with pytest.raises(InputError, match="rounds must"):
        invert(diffusion, latents(1), prompt, rounds=0)
    with pytest.raises(InputError, match="guidance needs"):
        generate(diffusion, latents(1), prompt, guidance=2)
    path = invert(diffusion, latents(1), diffusion.embed(["a dog"]), 2)
    assert nearest(path.times, 300) == 501
    assert nearest(path.times, 0) == 1
    with pytest.raises(InputError, match="not 7"):
        path.at(7)
