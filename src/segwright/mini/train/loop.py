"""One training loop for every stage: deterministic, resumable, on one or several processes.

The number of steps is fixed before the start, never by the clock, so that a seed gives the same weights on the
same machine. Data and noise of step ``i`` come from (seed, rank, i) alone, so a resumed run needs no random state.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.random import Generator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from segwright.errors import InputError


@dataclass(frozen=True)
class Plan:
    """steps: optimizer steps; lr: of AdamW; muon_lr: of matrices; decay: last share of steps, linear to zero."""

    steps: int
    lr: float = 1e-3
    muon_lr: float = 0.02
    warmup: int = 100
    decay: float = 0.35
    weight_decay: float = 0.01
    ema: float = 0.0
    checkpoint_s: float = 300.0
    bfloat16: bool = False  # autocast; on a CPU only where it has units for it, else it is many times slower


def orthogonalise(grad: Tensor, iterations: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix by a quintic Newton-Schulz iteration (Jordan et al., Muon, 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = grad / (grad.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


class MuonAdamW:
    """Muon for hidden matrices and convolutions, AdamW for the rest (torch.optim.Muon takes 2-D weights only).

    State is a flat dict of tensors, so a checkpoint is one safetensors file.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], plan: Plan, adam_only: tuple[str, ...] = ()) -> None:
        self.plan = plan
        self.params = {n: p for n, p in named if p.requires_grad}
        self.matrices = {n for n, p in self.params.items() if p.ndim >= 2 and not any(k in n for k in adam_only)}
        self.state: dict[str, Tensor] = {}

    def _rate(self, step: int) -> float:
        plan = self.plan
        left = (plan.steps - step) / max(1.0, plan.decay * plan.steps)
        return min(1.0, (step + 1) / plan.warmup, max(0.0, left))

    @torch.no_grad()
    def step(self, step: int) -> None:
        rate = self._rate(step)
        for name, p in self.params.items():
            if p.grad is None:
                continue
            if name in self.matrices:
                m = self.state.setdefault(f"{name}.m", torch.zeros_like(p))
                m.lerp_(p.grad, 0.05)
                update = orthogonalise(p.grad.lerp(m, 0.95).flatten(1))
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                p.mul_(1 - rate * self.plan.muon_lr * self.plan.weight_decay)
                p.add_(update.view_as(p), alpha=-rate * self.plan.muon_lr * scale)
            else:
                m = self.state.setdefault(f"{name}.m", torch.zeros_like(p))
                v = self.state.setdefault(f"{name}.v", torch.zeros_like(p))
                m.lerp_(p.grad, 0.1)
                v.lerp_(p.grad.square(), 0.02)
                m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.98 ** (step + 1))
                p.sub_(rate * self.plan.lr * m_hat / (v_hat.sqrt() + 1e-8))


def save_checkpoint(path: Path, tensors: dict[str, Tensor], notes: dict) -> None:
    """Whole file or none: written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, {"notes": json.dumps(notes)})
    os.replace(part, path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        return {k: file.get_tensor(k) for k in names}, json.loads(file.metadata()["notes"])


def _average_gradients(params: list[nn.Parameter]) -> None:
    flat = torch.cat([p.grad.flatten() for p in params if p.grad is not None])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    start = 0
    for p in params:
        if p.grad is not None:
            p.grad.copy_(flat[start : start + p.numel()].view_as(p))
            start += p.numel()


def train(
    name: str,
    model: nn.Module,
    loss: Callable[[Generator, int], tuple[Tensor, dict[str, float]]],
    plan: Plan,
    folder: Path,
    *,
    seed: int = 0,
    adam_only: tuple[str, ...] = (),
) -> dict:
    """Train ``model`` in place; with ``plan.ema`` its weights end as their moving average.

    Args:
        loss: (random generator of this step and process, step) -> (scalar loss, figures to show).
        folder: where ``NAME.ckpt.safetensors`` is kept; if it is there, training resumes from it.
        adam_only: parts of names whose matrices AdamW takes (embeddings, first and last layers).

    Returns:
        {"steps": ..., "seconds": seconds of training in all sittings, figures of the last steps}
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    path = folder / f"{name}.ckpt.safetensors"
    optimizer = MuonAdamW(model.named_parameters(), plan, adam_only)
    params = list(optimizer.params.values())
    kind = params[0].device.type
    lasting = set(model.state_dict()) - set(optimizer.params)
    average = {n: p.detach().clone() for n, p in optimizer.params.items()} if plan.ema else {}
    start, seconds = 0, 0.0
    shown: dict[str, float] = {}
    if path.is_file():
        tensors, notes = load_checkpoint(path)
        if notes["seed"] != seed:
            raise InputError(f"{path} was begun with seed {notes['seed']}, not {seed}; choose another folder or that seed")
        start, seconds, shown = notes["step"], notes["seconds"], notes["figures"]
        named = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(("model.", "buffer."))}
        model.load_state_dict(named, strict=False)
        device = params[0].device
        optimizer.state = {k[4:]: v.to(device) for k, v in tensors.items() if k.startswith("opt.")}
        average = {k[4:]: v.to(device) for k, v in tensors.items() if k.startswith("ema.")}

    def checkpoint(step: int) -> None:
        if rank:
            return
        tensors: dict[str, Tensor] = {f"model.{n}": p for n, p in optimizer.params.items()}
        tensors |= {f"buffer.{n}": b for n, b in model.named_buffers() if n in lasting}
        tensors |= {f"opt.{n}": t for n, t in optimizer.state.items()} | {f"ema.{n}": t for n, t in average.items()}
        notes = {"step": step, "seed": seed, "seconds": seconds + time.monotonic() - begun, "figures": shown}
        save_checkpoint(path, tensors, notes)

    begun = saved = time.monotonic()
    model.train()
    bar = tqdm(range(start, plan.steps), initial=start, total=plan.steps, desc=name, disable=bool(rank), mininterval=5)
    for step in bar:
        torch.manual_seed((seed * 1_000_003 + step) * 64 + rank)
        model.zero_grad(set_to_none=True)
        with torch.autocast(kind, torch.bfloat16, enabled=plan.bfloat16):
            value, figures = loss(np.random.default_rng([seed, rank, step]), step)
        value.backward()
        if world > 1:
            _average_gradients(params)
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step(step)
        keep = min(plan.ema, (step + 1) / (step + 10))
        for n, slow in average.items():
            slow.lerp_(optimizer.params[n].detach(), 1 - keep)
        for key, number in {"loss": float(value.detach()), **figures}.items():
            shown[key] = number if key not in shown else 0.98 * shown[key] + 0.02 * number
        if step % 20 == 0:
            bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()}, refresh=False)
        if time.monotonic() - saved > plan.checkpoint_s:
            checkpoint(step + 1)
            saved = time.monotonic()
    checkpoint(plan.steps)
    if average:
        model.load_state_dict(average, strict=False)
    model.eval()
    return {"steps": plan.steps, "seconds": seconds + time.monotonic() - begun, **shown}
