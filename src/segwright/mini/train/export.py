"""Write trained networks as a preset's folders: float16 on disk, float32 by their configuration, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

BY_TOKEN = (
    "token_embedding.weight",
    "word_embeddings.weight",
    "predictions.decoder.weight",
    "predictions.decoder.bias",
    "predictions.bias",
)


def save_model(model: Any, folder: Path, beside: Sequence[Any] = ()) -> None:
    """A float16 copy of a network, and what belongs beside it (tokenizer, image processor), swapped in at the end."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    own = {k: v.detach().to("cpu", torch.float16 if v.is_floating_point() else v.dtype) for k, v in model.state_dict().items()}
    model.save_pretrained(part, state_dict=own) if hasattr(model, "config_class") else _save_diffusers(model, part, own)
    for item in beside:
        item.save_pretrained(str(part))
    declare_float32(part)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def _save_diffusers(model: Any, folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    kind = type(model)
    copy = kind.from_config(model.config)
    copy.load_state_dict(tensors)
    copy.half().save_pretrained(folder)


def declare_float32(folder: Path) -> None:
    """Weights lie in float16 to be small, but load as float32 unless asked otherwise (transformers goes by the config)."""
    file = folder / "config.json"
    settings = json.loads(file.read_text("utf8"))
    for part in (settings, settings.get("text_config", {}), settings.get("vision_config", {})):
        if "dtype" in part:
            part["dtype"] = "float32"
    settings.pop("_name_or_path", None)
    file.write_text(json.dumps(settings, indent=2) + "\n", "utf8")


@torch.no_grad()
def start_from(
    model: torch.nn.Module, folder: Path, tokens: tuple[dict[str, int], dict[str, int]] | None = None, prefix: str = ""
) -> int:
    """Copy what agrees in name and shape from a saved network; rows of token embeddings go by their token.

    Positions of another grid of patches are interpolated. An MLP that is wider here says at first what the saved one said: its
    further units are read with weight zero (Chen et al., "Net2Net", ICLR 2016).

    Args:
        folder: a network's folder with one safetensors file.
        tokens: (this network's, the saved one's) vocabulary, token -> row.
        prefix: of the saved names that are meant; it is taken off.

    Returns:
        How many tensors were taken.
    """
    taken = 0
    own = model.state_dict()
    with safe_open(next(folder.glob("*.safetensors")), "pt") as file:
        for saved in file.keys():  # noqa: SIM118, safe_open is no mapping
            name = saved.removeprefix(prefix)
            if not saved.startswith(prefix) or name not in own:
                continue
            theirs = file.get_tensor(saved).float()
            if tokens and name.endswith(BY_TOKEN):
                rows = [(here, tokens[1][t]) for t, here in tokens[0].items() if t in tokens[1]]
                own[name][[a for a, _ in rows]] = theirs[[b for _, b in rows]].to(own[name])
                taken += 1
            elif own[name].shape == theirs.shape:
                own[name].copy_(theirs)
                taken += 1
            elif "vision_model" in name and name.endswith("position_embedding.weight") and own[name].shape[1] == theirs.shape[1]:
                own[name].copy_(_other_grid(theirs, len(own[name])))
                taken += 1
            elif ".mlp.fc" in name and all(a >= b for a, b in zip(own[name].shape, theirs.shape, strict=True)):
                if name.endswith("fc2.weight"):
                    own[name].zero_()
                own[name][tuple(slice(n) for n in theirs.shape)] = theirs
                taken += 1
    return taken


def _other_grid(positions: torch.Tensor, count: int) -> torch.Tensor:
    """(1 + n * n, C) positions of a class token and a square grid -> (count, C), bicubic."""
    sides = [int((n - 1) ** 0.5) for n in (len(positions), count)]
    grid = positions[1:].T.unflatten(1, (sides[0], sides[0]))[None]
    wide = torch.nn.functional.interpolate(grid, (sides[1], sides[1]), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], wide[0].flatten(1).T])
