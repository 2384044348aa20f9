"""G4Seg as a refiner."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from segwright.errors import InputError
from segwright.files.html import Page
from segwright.models.controlnet import ControlNet
from segwright.refine.base import Refiner
from segwright.refine.g4seg import explain
from segwright.refine.g4seg.method import g4seg
from segwright.refine.g4seg.settings import G4SegSettings
from segwright.types import Image, Scores
from segwright.weights import Networks


@dataclass(frozen=True)
class G4Seg(G4SegSettings, Refiner):
    """``g4seg`` as a refiner.

    Attributes:
        controlnet: injects the masks, in place of attention (Table VIII); ``segwright.weights.load_controlnet``.
    """

    controlnet: ControlNet | None = field(default=None, repr=False)
    name: ClassVar = "g4seg"
    kinds: ClassVar = ("diffusion", "clip")
    needs_words: ClassVar = True

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        return g4seg(image, scores, model=self._given(networks), settings=self, controlnet=self.controlnet)

    def _given(self, networks: Networks | None) -> Networks:
        if networks is None:
            raise InputError("g4seg runs on a diffusion model and CLIP; give it networks, for example segwright.load('sd15')")
        return networks

    def explain(self, image: Image, scores: Scores, networks: Networks | None = None, title: str = "") -> Page:
        """The page of the steps on one image: reconstructions, matches, what moved and why."""
        return explain.page(image, scores, self._given(networks), self, title)

    def settings(self) -> dict[str, Any]:
        """Every field by its name; the ControlNet by a checksum of its weights."""
        known = asdict(replace(self, controlnet=None))
        return known | {"controlnet": None if self.controlnet is None else self.controlnet.identity()}
