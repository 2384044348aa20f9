"""G4Seg's settings, with the sources of their defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segwright.errors import InputError
from segwright.models.null_text import InversionSettings
from segwright.refine.base import check_count
from segwright.settings import take_parts
from segwright.types import check_seed

INJECTIONS = ("added", "ranged")
COMPARED = ("own", "shares")
SIDE = 512  # pixels; Sec. VI: "all images are resized to (512, 512)"


@dataclass(frozen=True)
class InjectionSettings:
    """What G4Seg with and without its correspondence has: how masks are injected, and what becomes of the scores.

    Attributes:
        timestep: that the photo is noised to, 1 .. 999 (Sec. VI, Fig. 4: 400).
        cross: injection weight of Eq. 5 for cross-attention (Sec. VI follows DenseDiffusion, whose published code has 1.0).
        self_: injection weight of Eq. 5 for self-attention (DenseDiffusion's published code: 0.3).
        injection: "added": Eq. 5's constant; "ranged": DenseDiffusion's way, in which cross and self_ are shares, 0..1, of what
            lies between a logit and its row's extremes, times one less the mask's area (its schedule, (t / 1000)^5, is 0.01 at
            t = 400 and not applied).
        half: share of a cell that a mask must cover for the cell to be inside; None injects the share itself (ours: rounding; the
            paper has binary masks and does not say how they are brought to the resolutions of the U-Net).
        beta: of Eq. 9, the share of the coarse score, 0..1. 0.8 for open vocabulary, 0.9 for weakly supervised masks (Sec. VI).
        certain: only foreground probabilities in this range are updated (Table III); None: all.
        compared: "own": each class's score by itself is filtered and updated, and then they are compared ("update the current
            segment logit independently", Sec. III-A; ``Scores.own``); "shares": those that sum to 1, and what a class gains
            background loses (ours).
        passes: how often the whole is done (the paper describes 1).
        grid: cells a side on which cells are matched; without correspondence, of the attention (ours: best with ``layer`` in a
            sweep on 13 training scenes, docs/methods/g4seg.md).
        soften: for hard masks (every pixel sure of its label), which the filter else leaves as they are: their outlines are first
            blurred with this share of the picture's sides as standard deviation; no label changes by that. 0: a hard mask comes
            back as it went in. Only whoever knows that a mask is coarse should set it (the paper's masks are soft: 0).
        prompt: "A photo of {}" (Sec. II-C1).
        seed: of the noise (ours: 0, as any other).
        side: pixels of the square that the photo is squeezed to; None: 512 (Sec. VI), or what the U-Net was made for if less.
        batch: classes at once; halved by itself where the memory does not hold them (ours: for memory).

    Raises:
        InputError: a setting outside its range.
    """

    timestep: int = 400
    cross: float = 1.0
    self_: float = 0.3
    injection: str = "added"
    half: float | None = 0.5
    beta: float = 0.8
    certain: tuple[float, float] | None = (0.2, 0.6)
    compared: str = "own"
    passes: int = 1
    grid: int = 48
    soften: float = 0.0
    prompt: str = "A photo of {}"
    seed: int = 0
    side: int | None = None
    batch: int = 8

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("passes", "grid", "batch"):
            check_count(name, getattr(self, name))
        if not 1 <= self.timestep <= 999:
            raise InputError(f"timestep must lie in 1..999, got {self.timestep}; the paper has 400")
        if not 0 <= self.beta <= 1:
            raise InputError(f"beta must lie in 0..1, got {self.beta}; the paper has 0.8")
        if not (math.isfinite(self.cross) and math.isfinite(self.self_) and 0 <= self.soften < 1):
            raise InputError(
                f"cross and self_ must be finite and soften lie in 0..1, got {self.cross}, {self.self_} and {self.soften}"
            )
        if self.injection not in INJECTIONS:
            raise InputError(f"injection must be one of {', '.join(INJECTIONS)}, got {self.injection!r}; the paper has added")
        if self.compared not in COMPARED:
            raise InputError(f"compared must be one of {', '.join(COMPARED)}, got {self.compared!r}; the paper has own")
        if self.injection == "ranged" and not (0 <= self.cross <= 1 and 0 <= self.self_ <= 1):
            raise InputError(f"with injection ranged, cross and self_ are shares in 0..1, got {self.cross} and {self.self_}")
        if self.certain is not None and not (len(self.certain) == 2 and 0 <= self.certain[0] <= self.certain[1] <= 1):
            raise InputError(f"certain must be None or two ascending probabilities, got {self.certain!r}; the paper has (0.2, 0.6)")
        if self.prompt.count("{}") != 1:
            raise InputError(f'prompt needs "{{}}" once, where the word goes, got {self.prompt!r}')


@dataclass(frozen=True)
class G4SegSettings(InjectionSettings):
    """Defaults: the paper's where it has them; the others from a sweep (docs/methods/g4seg.md).

    Attributes:
        layer: of CLIP's image tower, -1 the last (ours: best with ``grid`` in a sweep on 13 training scenes,
            docs/methods/g4seg.md).
        clip_side: pixels of the pictures that CLIP sees; None: so many that it has ``grid`` cells itself (ours: 96 and 128 pixels
            were worse in the same sweep). Other features are interpolated to the grid.
        reach: how far a match may lie, as a share of the square's side (ours: from the same sweep); None: anywhere, as Eq. 8
            has it.
        correspondence: False mixes with the U-Net's own cross-attention to the class's name, min-max scaled, in place
            of the matched scores: our reading of Table III's row with injection alone.
        inversion: null-text inversion in place of one step (Table IV); None: one step.
        layout_colors: (word, (red, green, blue) in 0..255) pairs, for a ControlNet that was trained on coloured layouts; other
            words are white, and the ground is black (ours: the paper names no colours).

    Raises:
        InputError: a setting outside its range.
    """

    layer: int = -1
    clip_side: int | None = None
    reach: float | None = 0.125
    correspondence: bool = True
    inversion: InversionSettings | None = None
    layout_colors: tuple[tuple[str, tuple[int, int, int]], ...] = ()

    def __post_init__(self) -> None:
        take_parts(self)
        super().__post_init__()
        if self.reach is not None and not self.reach > 0:
            raise InputError(f"reach must be None or a positive share of the picture's side, got {self.reach}")
