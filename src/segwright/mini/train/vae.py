"""Stage vae: AutoencoderKL, four pixels to a latent cell, trained on growing crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.random import Generator
from torch import Tensor

from segwright.mini.train.data import Drawn
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import Plan, train

CROPS = ((0.55, 32, 48), (0.85, 64, 16), (1.0, 128, 6))  # until this share of the steps: side, batch


def build() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=128, mid_block_add_attention=False, scaling_factor=1.0,
    )  # fmt: skip


def batch(data: Drawn, rng: Generator, side: int, count: int) -> Tensor:
    """Random crops, (count, 3, side, side) float32 in -1..1."""
    out = torch.empty(count, 3, side, side)
    full = data.images.shape[1]
    for k, i in enumerate(rng.integers(0, len(data), count)):
        y, x = rng.integers(0, full - side + 1, 2)
        crop = torch.from_numpy(data.images[i, y : y + side, x : x + side].copy())
        out[k] = crop.permute(2, 0, 1) / 127.5 - 1
    return out.flip(-1) if rng.random() < 0.5 else out


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def reconstruction_loss(made: Tensor, true: Tensor) -> Tensor:
    edge = sum(F.l1_loss(a, b) for a, b in zip(edges(made), edges(true), strict=True))
    return F.l1_loss(made, true) + 2 * F.mse_loss(made, true) + 0.3 * edge


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder ``vae``."""
    torch.manual_seed(seed)
    model = build()
    if start:
        start_from(model, start / "vae")
    model.to(device, memory_format=torch.channels_last)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        side, count = next((s, n) for share, s, n in CROPS if step < share * plan.steps)
        true = batch(data, rng, side, count).to(device, memory_format=torch.channels_last)
        latent = model.encode(true).latent_dist
        made = model.decode(latent.sample()).sample.float()
        psnr = -10 * torch.log10(F.mse_loss(made.detach(), true) / 4 + 1e-9)
        kl = 0.5 * (latent.mean.square() + latent.var - 1 - latent.logvar).mean()
        return reconstruction_loss(made, true) + 1e-4 * kl, {"psnr": float(psnr), "kl": float(kl.detach())}

    notes = train("vae", model, loss, plan, output / "training", seed=seed, adam_only=("conv_in", "conv_out", "quant_conv"))
    with torch.no_grad():
        rngs = (np.random.default_rng([seed, 99, k]) for k in range(16))
        sample = torch.cat([model.encode(batch(data, rng, 128, 8).to(device)).latent_dist.mean for rng in rngs])
    model.register_to_config(scaling_factor=round(float(1 / sample.std()), 5))
    return lambda: save_model(model, output / "vae"), notes | {"samples": sum_samples(plan.steps)}


def sum_samples(steps: int) -> int:
    """Crops seen in ``steps`` steps."""
    shares = [share for share, _, _ in CROPS]
    return sum(round(steps * (b - a)) * n for a, b, (_, _, n) in zip([0.0, *shares], shares, CROPS, strict=False))
