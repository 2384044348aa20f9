"""Explicit mask injection alone (G4Seg, Sec. II-C1 and Table III's second row), as a refiner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from segwright.errors import InputError
from segwright.refine.base import Refiner
from segwright.refine.g4seg.method import g4seg
from segwright.refine.g4seg.settings import G4SegSettings, InjectionSettings
from segwright.types import Image, Scores
from segwright.weights import Networks


@dataclass(frozen=True)
class EMI(InjectionSettings, Refiner):
    """Scores mixed with the U-Net's own cross-attention to the class's name, under the coarse mask injected into its attention.

    S* = beta S + (1 - beta) A, A the attention to the name's tokens, mean over layers and heads, stretched to 0..1 over the photo:
    our reading of Table III's row with injection alone, as the paper does not say what becomes of its picture. Neither a picture is
    decoded nor CLIP asked.

    Attributes:
        certain: only foreground probabilities in this range are updated; None: all (Table III's row has no filter).

    Raises:
        InputError: a setting outside its range.
    """

    certain: tuple[float, float] | None = None
    name: ClassVar = "emi"
    kinds: ClassVar = ("diffusion",)
    needs_words: ClassVar = True

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        if networks is None:
            raise InputError("emi runs on a diffusion model; give it networks, for example segwright.load('sd15')")
        return g4seg(image, scores, model=networks, settings=G4SegSettings(**self.settings(), correspondence=False))
