"""How far from the floor: seconds and floating-point operations of each network, beside the device's own rate of products."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

SIDE = {"cpu": 2048, "mps": 4096, "cuda": 8192}  # of the matrices whose product is timed
TRIES = 5


def rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the fastest of ``TRIES``.

    On the CPU a second of the processor, so that other programs do not count: the rate of one core.
    """
    side, clock = SIDE[device.type], time.process_time if device.type == "cpu" else partial(now, device)
    a, b = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(TRIES + 1):
        begun = clock()
        torch.mm(a, b)
        seconds.append(clock() - begun)
    return 2 * side**3 / min(seconds[1:])


def now(device: torch.device) -> float:
    """Seconds, after all that the device has been given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def parts(kind: str, opened: Any) -> dict[str, nn.Module]:
    """The modules of a network that are called as a whole, by the name of their step."""
    return PARTS.get(kind, lambda network: {kind: network.model})(opened)


def _diffusion(opened: Any) -> dict[str, nn.Module]:
    encoders = {f"text encoder {i + 1}": encoder for i, encoder in enumerate(opened.text_encoders)}
    return {"U-Net": opened.unet, "encoder": opened.vae.encoder, "decoder": opened.vae.decoder, **encoders}


PARTS: dict[str, Callable[[Any], dict[str, nn.Module]]] = {
    "diffusion": _diffusion,
    "tiny_vae": lambda opened: {"tiny encoder": opened.encoder},
    "clip": lambda opened: {"CLIP, pictures": opened.model.vision_model, "CLIP, words": opened.model.text_model},
    "captioner": lambda opened: {"caption, picture": opened.model.vision_model, "caption, words": opened.model.text_decoder},
}


class Meter:
    """Seconds, of the wall and of the processor, and operations, by step.

    Attributes:
        seconds: wall seconds.
        busy: seconds of the processor, all threads.
        flop: operations, counted while ``counting``.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self.busy: dict[str, float] = defaultdict(float)
        self.flop: dict[str, int] = defaultdict(int)
        self._counter: FlopCounterMode | None = None
        self._begun: dict[str, tuple[float, float, int]] = {}

    def begin(self, step: str) -> None:
        self._begun[step] = now(self.device), time.process_time(), self._counted()

    def end(self, step: str) -> None:
        wall, busy, flop = self._begun.pop(step)
        self.seconds[step] += now(self.device) - wall
        self.busy[step] += time.process_time() - busy
        self.flop[step] += self._counted() - flop

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.begin(name)
        try:
            yield
        finally:
            self.end(name)

    @contextmanager
    def watching(self, modules: dict[str, nn.Module]) -> Iterator[None]:
        """Every call of the modules, also of those that are left early, is counted to their steps."""
        handles = []
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: self.begin(name)))
            handles.append(module.register_forward_hook(lambda *_, name=name: self.end(name), always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Operations are counted; seconds mean nothing meanwhile."""
        with FlopCounterMode(display=False, custom_mapping=_missing()) as self._counter:
            yield
        self._counter = None

    def clear(self) -> None:
        """Forget the seconds; operations stay."""
        self.seconds.clear()
        self.busy.clear()

    def _counted(self) -> int:
        return 0 if self._counter is None else int(self._counter.get_total_flops())


def _missing() -> dict[Any, Callable[..., int]]:
    """Operations that torch's own table lacks."""
    found: dict[Any, Callable[..., int]] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    if torch.backends.mkldnn.is_available():
        found[torch.ops.mkldnn._linear_pointwise] = _linear
    return found


def _linear(rows: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(rows) * int(weight[0])


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))
