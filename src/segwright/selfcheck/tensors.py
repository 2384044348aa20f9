"""Whether every floating tensor of a loaded network is one of its files: libraries fill gaps with random numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def modules(opened: Any) -> dict[str, nn.Module]:
    """The networks of what ``segwright.weights`` opens, by a name each."""
    if isinstance(opened, nn.Module):
        return {"model": opened}
    if hasattr(opened, "unet"):
        encoders = {f"text_encoder_{i}" if i else "text_encoder": e for i, e in enumerate(opened.text_encoders)}
        return {"unet": opened.unet, "vae": opened.vae, **encoders}
    return {"model": opened.model}


def strangers(opened: Any, folder: Path) -> tuple[int, list[str]]:
    """How many floating tensors there are, and the names of those that are in no file of a folder.

    A tensor is compared by shape and contents, in the network's own precision: names differ between files and libraries.
    """
    count, strange = 0, []
    kinds = {value.dtype for _, value in _named(opened)}
    there = {(dtype, mark) for path in folder.rglob("*.safetensors") for dtype, mark in _of_file(path, kinds)}
    for name, value in _named(opened):
        count += 1
        if (value.dtype, _mark(value)) not in there:
            strange.append(name)
    return count, strange


def _named(opened: Any) -> Iterator[tuple[str, Tensor]]:
    for part, network in modules(opened).items():
        kept = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
        kept |= {name: value for name, value in network.named_buffers() if value.is_floating_point()}
        yield from ((f"{part}: {name}", value) for name, value in kept.items())


def _of_file(path: Path, kinds: set[torch.dtype]) -> Iterator[tuple[torch.dtype, str]]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            value = file.get_tensor(name)
            if value.is_floating_point():
                yield from ((kind, _mark(value.to(kind))) for kind in kinds)


def _mark(value: Tensor) -> str:
    data = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return f"{tuple(value.shape)} {hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest()}"
