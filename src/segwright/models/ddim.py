"""DDIM in both directions: from noise to a picture under guidance, and from a picture to the noise it would come from.

Both keep the whole path, so that what the U-Net sees at any timestep can be looked at again afterwards.
Timesteps are those of diffusers' DDIM with "leading" spacing and an offset of 1, as Stable Diffusion has them; the clean
end of a path counts as timestep 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.models.diffusion import Diffusion, Embedding

LAST = 1000  # timesteps of the noise schedule


@dataclass(frozen=True)
class Path:
    """Latents along a path.

    Attributes:
        times: ascending from 0.
        latents: for each time (B, 4, h, w), in the U-Net's dtype.
    """

    times: tuple[int, ...]
    latents: tuple[Tensor, ...]

    def at(self, timestep: int) -> Tensor:
        """The latents at one of ``times``.

        Raises:
            InputError: the path does not come by there.
        """
        if timestep not in self.times:
            raise InputError(f"this path passes the timesteps {', '.join(map(str, self.times))}, not {timestep}")
        return self.latents[self.times.index(timestep)]


def timesteps(steps: int) -> tuple[int, ...]:
    """0, and the ``steps`` timesteps at which the U-Net is asked, ascending: 0, 1, 1 + 1000 // steps, ...

    Raises:
        InputError: fewer than 1 or more than 999 steps.
    """
    if not 1 <= steps < LAST:
        raise InputError(f"steps must lie in 1..{LAST - 1}, got {steps}")
    return (0, *(1 + i * (LAST // steps) for i in range(steps)))


def nearest(times: tuple[int, ...], wanted: int) -> int:
    """The timestep of a path, 0 left out, that is nearest to the one wanted; the lower one of two."""
    return min(times[1:], key=lambda t: (abs(t - wanted), t))


def to_noise(diffusion: Diffusion, latents: Tensor, timestep: int, output: Tensor) -> Tensor:
    """The noise in latents from the U-Net's raw output: itself, or sqrt(abar) v + sqrt(1 - abar) x (Salimans and Ho 2022)."""
    if diffusion.prediction != "v_prediction":
        return output
    alpha = diffusion.alphas[timestep]
    return alpha.sqrt() * output + (1 - alpha).sqrt() * latents


def move(diffusion: Diffusion, latents: Tensor, now: int, then: int, noise: Tensor) -> Tensor:
    """One step of DDIM without noise of its own (Song et al. 2021, Eq. 12, sigma = 0), to a lower or a higher timestep."""
    a, b = diffusion.alphas[now], diffusion.alphas[then]
    clean = (latents - (1 - a).sqrt() * noise) / a.sqrt()
    return (b.sqrt() * clean + (1 - b).sqrt() * noise).to(latents.dtype)


@torch.no_grad()
def invert(diffusion: Diffusion, latents: Tensor, embedding: Embedding, steps: int = 20, rounds: int = 1) -> Path:
    """The noise from which DDIM without guidance would make these latents.

    A step up is DDIM's step down solved for its start x': x' = up(x, eps(x', t')), where t' is the higher timestep. The
    solution is iterated from x' = x. One round is the usual DDIM inversion (Song et al. 2021, Sec. 4.3, with the later
    timestep's prediction as in the published code of null-text inversion); more rounds bring ``generate`` closer to the
    latents, a pass each.

    Args:
        latents: (B, 4, h, w) clean.
        embedding: B prompts.
        rounds: at least 1.

    Raises:
        InputError: steps or rounds out of range.
    """
    if rounds < 1:
        raise InputError(f"rounds must be at least 1, got {rounds}")
    times, path = timesteps(steps), [latents]
    for now, then in pairwise(times):
        here = path[-1]
        guess = here
        for _ in range(rounds):
            noise = to_noise(diffusion, guess, then, diffusion.predict(guess, then, embedding))
            guess = move(diffusion, here, now, then, noise)
        path.append(guess)
    return Path(times, tuple(path))


@torch.no_grad()
def generate(
    diffusion: Diffusion,
    start: Tensor,
    embedding: Embedding,
    steps: int = 20,
    guidance: float = 1.0,
    *,
    negative: Embedding | None = None,
) -> Path:
    """DDIM from noise (B, 4, h, w) at the highest timestep down to clean latents; ``diffusion.decode`` shows them.

    Args:
        embedding: B prompts.
        guidance: classifier-free guidance scale; 1 or less: none.
        negative: B prompts of the unconditional half; needed for guidance.

    Raises:
        InputError: steps out of range, or guidance without ``negative``.
    """
    if guidance > 1 and negative is None:
        raise InputError("guidance needs the embedding of the negative or empty prompt")
    times, path = timesteps(steps), [start]
    for now, then in pairwise(reversed(times)):
        output = _guided(diffusion, path[-1], now, embedding, guidance, negative=negative if guidance > 1 else None)
        path.append(move(diffusion, path[-1], now, then, to_noise(diffusion, path[-1], now, output)))
    return Path(times, tuple(reversed(path)))


def _guided(
    diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding, guidance: float, *, negative: Embedding | None
) -> Tensor:
    """Both halves in one batch. Noise and velocity are alike here: one is an affine function of the other."""
    if negative is None:
        return diffusion.predict(latents, timestep, embedding)
    without, with_prompt = diffusion.predict(torch.cat([latents] * 2), timestep, stacked(negative, embedding)).chunk(2)
    return without + guidance * (with_prompt - without)


def stacked(first: Embedding, second: Embedding) -> Embedding:
    """Two batches of prompts as one."""
    pooled = None if first.pooled is None or second.pooled is None else torch.cat([first.pooled, second.pooled])
    return Embedding(torch.cat([first.tokens, second.tokens]), pooled)
