"""The stages of training in their order: what each needs, how long it gets, and how its steps are planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from segwright.mini.train import captioner, clip, diffusion, groupvit, guide, tiny_vae, vae, vit


@dataclass(frozen=True)
class Stage:
    """One network's training.

    Attributes:
        fit: (scenes, preset folder, plan, seed, device, rank=, start=) -> (what writes its folder, notes for training.json).
        needs: folders and files of the preset that must be there.
        minutes: nominal, on one core.
        plan: of ``loop.Plan`` beside the number of steps.
        folder: what it writes, and starts from where a start is given; "" where it starts from nothing.
    """

    fit: Callable[..., tuple[Callable[[], None], dict[str, Any]]]
    minutes: float
    steps_a_minute: float
    plan: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    folder: str = ""


GUIDE = f"training/{guide.FILE}"

STAGES: dict[str, Stage] = {
    "guide": Stage(guide.fit, 25, 85, {"lr": 2e-3, "muon_lr": 0.02, "decay": 0.5}),
    "clip": Stage(clip.fit, 100, 60, {"lr": 6e-4, "muon_lr": 0.005, "decay": 0.7}, (GUIDE,), "clip"),
    "vae": Stage(vae.fit, 15, 85, {"lr": 2e-3, "muon_lr": 0.02, "decay": 0.4}, folder="vae"),
    "diffusion": Stage(diffusion.fit, 90, 40, {"lr": 2e-3, "muon_lr": 0.02, "decay": 0.3, "ema": 0.998}, ("vae", GUIDE), "unet"),
    "captioner": Stage(captioner.fit, 30, 50, {"lr": 1e-3, "muon_lr": 0.01, "decay": 0.4}, ("clip",), "captioner"),
    "tiny-vae": Stage(tiny_vae.fit, 6, 200, {"lr": 2e-3, "muon_lr": 0.01, "decay": 0.4}, ("vae",), "tiny_vae"),
    "vit": Stage(vit.fit, 10, 60, {"lr": 1e-3, "muon_lr": 0.01, "decay": 0.3}, folder="dino"),
    "mae": Stage(vit.fit_mae, 10, 60, {"lr": 1.5e-3, "muon_lr": 0.02, "decay": 0.4}, folder="mae"),
    "groupvit": Stage(groupvit.fit, 15, 50, {"lr": 1e-3, "muon_lr": 0.01, "decay": 0.4}, folder="groupvit"),
}
