"""Explicit mask injection alone (G4Seg, Sec. II-C1 and Table III's second row), as a refiner."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from segwright.errors import InputError
from segwright.refine.base import Refiner
from segwright.refine.g4seg.method import g4seg
from segwright.refine.g4seg.settings import G4SegSettings
from segwright.types import Image, Scores
from segwright.weights import Networks


@dataclass(frozen=True)
class EMI(Refiner):
    """Scores mixed with the U-Net's own cross-attention to the class's name, under the coarse mask injected into its attention.

    S* = beta S + (1 - beta) A, A the attention to the name's tokens, mean over layers and heads, stretched to 0..1 over the photo:
    our reading of Table III's row with injection alone, as the paper does not say what becomes of its picture. Neither a picture is
    decoded nor CLIP asked.

    Attributes:
        timestep: as for ``G4SegSettings`` (Sec. VI: 400).
        cross: likewise (DenseDiffusion's published code: 1.0).
        self_: likewise (DenseDiffusion's published code: 0.3).
        injection: likewise ("added": Eq. 5).
        half: likewise (ours: rounding).
        beta: share of the coarse score, 0..1 (Sec. VI: 0.8; 0.9 for weakly supervised masks).
        certain: only foreground probabilities in this range are updated; None: all (Table III's row has no filter).
        compared: as for ``G4SegSettings`` (Sec. III-A: "own").
        passes: as for ``G4SegSettings`` (the paper describes 1).
        grid: cells a side of the attention (ours: as ``G4SegSettings``).
        soften: likewise (the paper's masks are soft: 0).
        prompt: likewise (Sec. II-C1).
        seed: likewise (ours: 0, as any other).
        side: likewise (Sec. VI: 512).
        batch: likewise (ours: for memory).

    Raises:
        InputError: a setting outside its range.
    """

    timestep: int = 400
    cross: float = 1.0
    self_: float = 0.3
    injection: str = "added"
    half: float | None = 0.5
    beta: float = 0.8
    certain: tuple[float, float] | None = None
    compared: str = "own"
    passes: int = 1
    grid: int = 48
    soften: float = 0.0
    prompt: str = "A photo of {}"
    seed: int = 0
    side: int | None = None
    batch: int = 8
    name: ClassVar = "emi"
    kinds: ClassVar = ("diffusion",)
    needs_words: ClassVar = True

    def __post_init__(self) -> None:
        self._whole()

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        if networks is None:
            raise InputError("emi runs on a diffusion model; give it networks, for example segwright.load('sd15')")
        return g4seg(image, scores, model=networks, settings=self._whole())

    def _whole(self) -> G4SegSettings:
        return G4SegSettings(**{f.name: getattr(self, f.name) for f in fields(self)}, correspondence=False)
