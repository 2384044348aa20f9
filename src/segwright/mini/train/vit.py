"""Stages vit and mae: transformers' ViTModel by self-distillation without labels, and ViTMAE by filling in hidden patches.

vit: a student follows a slow copy of itself over two global and some local crops, class tokens only (Caron et al., DINO,
2021, Algorithm 1: centred and sharpened teacher). mae: three quarters of the patches are hidden (He et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn
from transformers import ViTConfig, ViTImageProcessor, ViTMAEConfig, ViTMAEForPreTraining, ViTModel

from segwright.mini.scenes import SIZE
from segwright.mini.train.data import Drawn
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.pictures import MEAN, PATCH, STD

SIZES: dict[str, Any] = {
    "hidden_size": 144,
    "intermediate_size": 288,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "hidden_act": "gelu",
}
BATCH = 32
PROTOTYPES = 512
GLOBAL, LOCAL, LOCALS = 96, 48, 4  # crops: sides in pixels, how many local ones
STUDENT, TEACHER = 0.1, 0.04  # temperatures (DINO Sec. 3.1)
FOLLOW = 0.99  # of the teacher; DINO's 0.996 is for ten times the steps
CENTRE = 0.9


def processor() -> ViTImageProcessor:
    return ViTImageProcessor(size={"height": SIZE, "width": SIZE}, resample=3, image_mean=list(MEAN), image_std=list(STD))


def crops(pictures: Tensor, side: int, scale: tuple[float, float], rng: Generator) -> Tensor:
    """Random squares of an area within ``scale``, mirrored and recoloured by lot: (b, 3, side, side), normalised."""
    count = len(pictures)
    part = torch.from_numpy(np.sqrt(rng.uniform(*scale, count))).float()
    shift = torch.from_numpy(rng.uniform(-1, 1, (2, count))).float() * (1 - part)
    flip = torch.from_numpy(rng.choice((-1.0, 1.0), count)).float()
    zero = torch.zeros(count)
    turn = torch.stack([torch.stack([part * flip, zero, shift[0]], 1), torch.stack([zero, part, shift[1]], 1)], 1)
    seen = F.grid_sample(
        pictures, F.affine_grid(turn, [count, 3, side, side], align_corners=False), "bilinear", "reflection", align_corners=False
    )
    gain = torch.from_numpy(rng.uniform(0.6, 1.4, (count, 3, 1, 1))).float()
    grey = torch.from_numpy((rng.random((count, 1, 1, 1)) < 0.2).astype(np.float32))
    seen = (seen * gain * (1 - grey) + seen.mean(1, keepdim=True) * grey).clamp(0, 1)
    return (seen - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class Distilled(nn.Module):
    """A ViT with DINO's head: three layers, unit length, weight-normalised prototypes."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(**SIZES, image_size=SIZE, patch_size=PATCH, qkv_bias=True)
        self.vit = ViTModel._from_config(config, add_pooling_layer=False, attn_implementation="eager")
        width = SIZES["hidden_size"]
        self.head = nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 64))
        self.prototypes = nn.Linear(64, PROTOTYPES, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        token = self.vit(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]
        return F.normalize(self.head(token).float(), dim=-1) @ F.normalize(self.prototypes.weight.float(), dim=-1).T


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder ``dino``. A resumed training begins its teacher from the student."""
    torch.manual_seed(seed)
    model = Distilled()
    if start:
        start_from(model.vit, start / "dino")
    model.to(device)
    teacher = deepcopy(model).requires_grad_(False)
    centre = torch.zeros(PROTOTYPES, device=device)
    begun = [False]

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        nonlocal centre
        if not begun[0]:
            teacher.load_state_dict(model.state_dict())
            begun[0] = True
        for slow, fast in zip(teacher.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast.detach(), 1 - FOLLOW)
        picks = np.sort(rng.integers(0, len(data), BATCH))
        pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
        wide = torch.cat([crops(pictures, GLOBAL, (0.4, 1.0), rng) for _ in range(2)]).to(device)
        near = torch.cat([crops(pictures, LOCAL, (0.08, 0.4), rng) for _ in range(LOCALS)]).to(device)
        with torch.no_grad():
            taught = teacher(wide).float()
            target = F.softmax((taught - centre) / TEACHER, dim=-1).view(2, BATCH, -1)
            centre = CENTRE * centre + (1 - CENTRE) * taught.mean(0)
        seen = [model(wide).view(2, BATCH, -1), model(near).view(LOCALS, BATCH, -1)]
        learnt = F.log_softmax(torch.cat(seen) / STUDENT, dim=-1)
        pairs = [-(target[a] * learnt[b]).sum(-1).mean() for a in range(2) for b in range(2 + LOCALS) if a != b]
        entropy = -(target.mean((0, 1)) * target.mean((0, 1)).clamp(min=1e-9).log()).sum()
        return torch.stack(pairs).mean(), {"spread": float(entropy)}

    notes = train("vit", model, loss, plan, output / "training", seed=seed, adam_only=("embedding", "cls_token", "prototypes"))
    return lambda: save_model(model.vit, output / "dino", (processor(),)), notes | {"samples": plan.steps * BATCH}


def fit_mae(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder ``mae``."""
    torch.manual_seed(seed)
    config = ViTMAEConfig(
        **SIZES, image_size=SIZE, patch_size=PATCH, decoder_hidden_size=96, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=3, decoder_intermediate_size=192, mask_ratio=0.75, norm_pix_loss=True,
    )  # fmt: skip
    model = ViTMAEForPreTraining._from_config(config, attn_implementation="eager")
    if start:
        start_from(model, start / "mae")
    model.to(device)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        picks = np.sort(rng.integers(0, len(data), 2 * BATCH))
        pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
        return model(pixel_values=crops(pictures, SIZE, (0.5, 1.0), rng).to(device)).loss, {}

    notes = train(
        "mae", model, loss, plan, output / "training", seed=seed, adam_only=("embedding", "cls_token", "mask_token", "decoder_pred")
    )
    return lambda: save_model(model, output / "mae", (processor(),)), notes | {"samples": plan.steps * 2 * BATCH}
