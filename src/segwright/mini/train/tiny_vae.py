"""Stage tiny-vae: AutoencoderTiny distilled from the VAE (as TAESD is): the same latents at a fraction of the cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from numpy.random import Generator
from torch import Tensor

from segwright.mini.train.data import Drawn
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.vae import batch, reconstruction_loss

SIDE, BATCH = 64, 16  # crops


def build() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(24, 24, 24), decoder_block_out_channels=(24, 24, 24), num_encoder_blocks=(1, 2, 2),
        num_decoder_blocks=(2, 2, 1), latent_channels=4, latent_magnitude=3, scaling_factor=1.0,
    )  # fmt: skip


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train the encoder on the VAE's scaled latents and the decoder on pictures; return what writes the folder ``tiny_vae``."""
    teacher = AutoencoderKL.from_pretrained(output / "vae", torch_dtype=torch.float32).to(device).eval().requires_grad_(False)
    torch.manual_seed(seed)
    model = build()
    if start:
        start_from(model, start / "tiny_vae")
    model.to(device)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        true = batch(data, rng, SIDE, BATCH).to(device)
        with torch.no_grad():
            wanted = teacher.encode(true).latent_dist.mean.float() * teacher.config.scaling_factor
        latents = model.encode(true).latents.float()
        made = model.decode(torch.where(torch.rand(BATCH, 1, 1, 1, device=device) < 0.5, wanted, latents.detach())).sample.float()
        through = model.decode(latents).sample.float()
        psnr = -10 * torch.log10(F.mse_loss(through.detach(), true) / 4 + 1e-9)
        latent = F.mse_loss(latents, wanted)
        value = latent + reconstruction_loss(made, true) + 0.5 * reconstruction_loss(through, true)
        return value, {"psnr": float(psnr), "latent_mse": float(latent.detach())}

    notes = train(
        "tiny-vae", model, loss, plan, output / "training", seed=seed, adam_only=("encoder.layers.0.", "decoder.layers.0.")
    )
    return lambda: save_model(model, output / "tiny_vae"), notes | {"samples": plan.steps * BATCH}
