"""A convolutional guide for the stage clip: what a ViT learns slowly from few pictures, a small CNN learns fast.

The guide sees the same training scenes and nothing else. The vision tower then learns to say of each patch what the guide
says there (locality guidance: Li et al., "Locality Guidance for Improving Vision Transformers on Tiny Datasets", ECCV 2022),
beside its own losses. It is no part of the preset.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segwright.mini.scenes import THINGS
from segwright.mini.train.data import Drawn
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.pictures import (
    CLASSES,
    augment,
    cells,
    content,
    cross,
    masked_batch,
    normalised,
    scene_batch,
)

WIDTHS = (32, 64, 96, 160, 192)  # at 1/2, 1/4, 1/8, 1/16 and 1/32 of the side
FEATURES = 128
MASKED, WHOLE = 40, 40  # pictures a step
MEASURED = 128  # scenes whose features say what is usual
FILE = "guide.safetensors"  # in the folder training


def _block(seen: int, made: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(seen, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU())


class Guide(nn.Module):
    """Normalised pixels (b, 3, S, S) -> features (b, 128, S/8, S/8) and, half way to them, (b, 96, S/8, S/8)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(_block(a, b, 2), _block(b, b, 1)) if k else _block(a, b, 2)
            for k, (a, b) in enumerate(itertools.pairwise((3, *WIDTHS)))
        )
        self.across = nn.ModuleList(nn.Conv2d(w, FEATURES, 1) for w in WIDTHS[2:])
        self.join = _block(FEATURES, FEATURES, 1)
        self.end = nn.Linear(FEATURES, classes)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        seen, made = pixels.contiguous(memory_format=torch.channels_last), []
        for level in self.levels:
            seen = level(seen)
            made.append(seen)
        features = self.across[-1](made[-1])
        for across, level in zip(reversed(self.across[:-1]), reversed(made[2:-1]), strict=True):
            features = F.interpolate(features, scale_factor=2.0) + across(level)
        return self.join(features), made[2]

    def logits(self, features: Tensor) -> Tensor:
        """(b, 128, h, w) -> (b, h * w, classes) float32."""
        return self.end(features.flatten(2).transpose(1, 2)).float()

    def pooled(self, features: Tensor, share: Tensor) -> Tensor:
        """Logits (b, classes) float32 of the mean of each picture's features. ``share`` (b, h * w): weights >= 0 of the patches."""
        share = share / share.sum(1, keepdim=True).clamp(min=1e-6)
        return self.end(torch.einsum("bcn,bn->bc", features.flatten(2).float(), share)).float()


def even(classes: Tensor) -> Tensor:
    """Weights of the patches with a class, such that one of n patches of its picture counts n^-1/2: small things count too."""
    known = classes >= 0
    key = classes + len(CLASSES) * torch.arange(len(classes), device=classes.device)[:, None]
    _, place, counts = key[known].unique(return_inverse=True, return_counts=True)
    weights = counts[place].float().rsqrt()
    return weights / weights.sum()


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes ``training/guide.safetensors``."""
    del rank, start
    torch.manual_seed(seed)
    model = _to(Guide(len(CLASSES)), device)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        masked, targets, barred = masked_batch(data, rng, MASKED)
        shown = augment(masked, rng, 0.25)
        scenes = scene_batch(data, rng, WHOLE)
        turned = torch.from_numpy(rng.random(WHOLE) < 0.5)
        pictures = torch.where(turned[:, None, None, None], scenes.pictures.flip(3), scenes.pictures)
        labels = torch.where(turned[:, None, None], scenes.labels.flip(2), scenes.labels)
        features, _ = model(torch.cat([shown, augment(pictures, rng)]).to(device))
        logits = model.pooled(features[: len(shown)], content(shown).to(device)).masked_fill(barred.to(device), -1e4)
        dense = model.logits(features[len(shown) :])
        classes = cells(labels, scenes.grounds).to(device)
        known = classes >= 0
        each = F.cross_entropy(dense[known], classes[known], reduction="none", label_smoothing=0.05)
        right = (targets.gather(1, logits.argmax(1, keepdim=True).cpu()) > 0).float().mean()
        hits = (dense[known].argmax(1) == classes[known])[classes[known] < len(THINGS)]
        value = cross(logits, targets.to(device), barred.to(device)) + (each * even(classes)).sum()
        return value, {"right": float(right), "cells": float(hits.float().mean())}

    notes = train("guide", model, loss, plan, output / "training", seed=seed, adam_only=("end",))
    return lambda: _save(model, output / "training" / FILE), notes | {"samples": plan.steps * (MASKED + WHOLE)}


def _save(model: Guide, path: Path) -> None:
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, part)
    os.replace(part, path)


def _to(model: Guide, device: str) -> Guide:
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fused(model: Guide) -> Guide:
    """The same function without batch norms, a tenth faster."""
    for block in (m for m in model.modules() if isinstance(m, nn.Sequential)):
        if isinstance(block[0], nn.Conv2d) and isinstance(block[1], nn.BatchNorm2d):
            block[0], block[1] = fuse_conv_bn_eval(block[0], block[1]), nn.Identity()
    return model


class Teacher:
    """The trained guide of a preset's folder, frozen; its features standardised over whole scenes.

    As they come they are all positive, and so much alike that their mean alone is near to each of them.
    """

    def __init__(self, data: Drawn, output: Path, device: str) -> None:
        model = Guide(len(CLASSES))
        model.load_state_dict(load_file(output / "training" / FILE))
        self.guide = _to(_fused(model.eval()), device).requires_grad_(False)
        scenes = scene_batch(data, np.random.default_rng(0), min(MEASURED, len(data)))
        made = [self.guide(part.to(device)) for part in normalised(scenes.pictures).split(32)]
        self.spread = []
        for features in (torch.cat(level).float() for level in zip(*made, strict=True)):
            self.spread.append((features.mean((0, 2, 3), keepdim=True), features.std((0, 2, 3), keepdim=True).clamp(min=1e-3)))

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Normalised pixels -> features as they come, and both levels standardised, float32."""
        made = self.guide(pixels)
        levels = [(level.float() - mean) / std for level, (mean, std) in zip(made, self.spread, strict=True)]
        return made[0].float(), levels
