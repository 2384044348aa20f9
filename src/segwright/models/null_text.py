"""Null-text inversion (Mokady et al. 2023), the other way of G4Seg to a reconstruction (its Sec. II-C and Table IV).

DDIM inversion follows the photo's latents up to the timestep; then, step by step on the way back, the embedding of the
empty prompt is fitted so that generation under guidance returns along the same path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.models.ddim import move, to_noise
from segwright.models.diffusion import Diffusion, Embedding

Predict = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class InversionSettings:
    """How null-text inversion is done (Mokady et al. 2023).

    Attributes:
        steps: of DDIM between 0 and the timestep (published: 50 for 1000, which is 20 for 400).
        inner: steps of Adam for each embedding (published: 10).
        guidance: classifier-free guidance on the way back (published: 7.5).
        rate: Adam's (published: 0.01).
    """

    steps: int = 20
    inner: int = 10
    guidance: float = 7.5
    rate: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 1 or self.inner < 0 or not self.rate > 0:
            raise InputError(f"inversion needs steps >= 1, inner >= 0 and rate > 0, got {self.steps}, {self.inner} and {self.rate}")


@dataclass(frozen=True)
class Inverted:
    """A way back to the photo.

    Attributes:
        start: (K, 4, h, w) latents at the last of ``times``.
        times: timesteps, ascending from 0.
        nulls: for each step back, from the last time on, the fitted embedding of the empty prompt.
        guidance: that they were fitted for.
    """

    start: Tensor
    times: tuple[int, ...]
    nulls: tuple[Embedding, ...]
    guidance: float


def invert(diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding, settings: InversionSettings) -> Inverted:
    """Follow (K, 4, h, w) latents to ``timestep`` under their prompts, and fit the empty prompt's embedding."""
    count = min(settings.steps, timestep)
    times = tuple(round(timestep * i / count) for i in range(count + 1))
    with torch.no_grad():
        path = [latents]
        for now, later in pairwise(times):  # the later step's prediction, as the published code
            path.append(move(diffusion, path[-1], now, later, _noise(diffusion, path[-1], later, embedding)))
    null = _empty(diffusion, len(latents))
    here, nulls = path[-1], []
    for i in range(count, 0, -1):
        null = _fitted(diffusion, here, path[i - 1], times[i], times[i - 1], embedding=embedding, null=null, settings=settings)
        nulls.append(null)
        with torch.no_grad():
            known = _noise(diffusion, here, times[i], embedding)
            here = _back(diffusion, here, times[i], times[i - 1], known, null=null, guidance=settings.guidance)
    return Inverted(path[-1], times, tuple(nulls), settings.guidance)


def generate(diffusion: Diffusion, inverted: Inverted, predict: Predict) -> Tensor:
    """Clean latents at the end of the way back; ``predict`` gives the U-Net's raw output under the prompt (and injection)."""
    here, times = inverted.start, inverted.times
    for i, null in zip(range(len(times) - 1, 0, -1), inverted.nulls, strict=True):
        known = to_noise(diffusion, here, times[i], predict(here, times[i]))
        here = _back(diffusion, here, times[i], times[i - 1], known, null=null, guidance=inverted.guidance)
    return here


def _fitted(
    diffusion: Diffusion, here: Tensor, goal: Tensor, now: int, earlier: int, *, embedding: Embedding, null: Embedding,
    settings: InversionSettings,
) -> Embedding:  # fmt: skip
    """The null embedding after ``inner`` steps of Adam; each photo's by itself, because the losses are summed."""
    with torch.no_grad():
        known = _noise(diffusion, here, now, embedding)
    tokens = null.tokens.float().clone().requires_grad_(True)
    adam = torch.optim.Adam([tokens], lr=settings.rate)
    for _ in range(settings.inner):
        with torch.enable_grad():
            guess = replace(null, tokens=tokens.to(null.tokens.dtype))
            reached = _back(diffusion, here, now, earlier, known, null=guess, guidance=settings.guidance)
            loss = F.mse_loss(reached.float(), goal.float(), reduction="none").mean((1, 2, 3)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return replace(null, tokens=tokens.detach().to(null.tokens.dtype))


def _back(diffusion: Diffusion, here: Tensor, now: int, earlier: int, known: Tensor, *, null: Embedding, guidance: float) -> Tensor:
    """One DDIM step down under guidance; ``known`` is the noise predicted under the prompt."""
    free = _noise(diffusion, here, now, null)
    return move(diffusion, here, now, earlier, free + guidance * (known - free))


def _noise(diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding) -> Tensor:
    return to_noise(diffusion, latents, timestep, diffusion.predict(latents, timestep, embedding))


def _empty(diffusion: Diffusion, count: int) -> Embedding:
    empty = diffusion.embed([""])
    pooled = None if empty.pooled is None else empty.pooled.expand(count, -1)
    return Embedding(empty.tokens.expand(count, -1, -1), pooled)
