"""What is diagnosed: a photo with its words, its prompt and, where there is one, its truth; and the settings of all parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.models.ddim import nearest, timesteps
from segwright.models.tokens import word_places
from segwright.types import SEEDS, Image, check_seed
from segwright.weights import Networks

PARTS = ("gradcam", "attention", "features", "conditioning")
NETWORKS = ("diffusion", "clip", "captioner")  # that a diagnosis runs on
Truth = NDArray[np.int64]


@dataclass(frozen=True)
class DiagnoseSettings:
    """Defaults: the paper's where it states one.

    Attributes:
        steps: of DDIM, in generation and inversion (ours: the paper states none).
        timesteps: at which attention and features are looked at, each moved to the nearest one that ``steps`` pass. The first
            stands for the paper's setting: generation's last step, and noise added once as ODISE adds it (t = 0).
        rounds: of inversion at each step (``segwright.models.ddim.invert``; ours: plain inversion misses photos of preset mini
            by 12 % of the latents' spread).
        guidance: of generation; None: the preset's own (ours: the paper states none).
        clusters: K of the k-means pictures (ours: the paper states none); the first is used everywhere, the others at one timestep.
        blocks: U-Net blocks whose features are clustered, counted from the output (Fig. 4: 6).
        cells: a side, of the features (ours: FreeSeg-Diff's 32).
        prompts: Grad-CAM's; the first is the paper's (Sec. 3.1), the last CLIP-ES's.
        threshold: of Grad-CAM in 0..1, above which a pixel counts as the word (ours: best of 0.2 .. 0.7 on training scenes of
            preset mini).
        attention_threshold: the same for attention maps (ours: half of a map's range).
        seed: of the generated picture's noise, of the noise added, and of k-means (ours: 0, as any other).
    """

    steps: int = 20
    timesteps: tuple[int, ...] = (1, 101, 201, 301, 501)
    rounds: int = 2
    guidance: float | None = None
    clusters: tuple[int, ...] = (4, 2, 6, 8)
    blocks: int = 6
    cells: int = 32
    prompts: tuple[str, ...] = ("a photo of {}", "{}", "a picture of a {}", "a clean origami {}.")
    threshold: float = 0.4
    attention_threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed, SEEDS // 2)  # a photo's place is added to it
        passed = timesteps(self.steps)
        if not self.timesteps or any(not 0 <= t < 1000 for t in self.timesteps):
            raise InputError(f"timesteps must be some of 0..999, got {self.timesteps}")
        if not self.clusters or min(self.clusters) < 1 or self.blocks < 1 or self.cells < 1 or self.rounds < 1:
            raise InputError("clusters, blocks, cells and rounds must be at least 1")
        if not self.prompts or any("{}" not in p for p in self.prompts):
            raise InputError(f"every prompt needs {{}} where the word goes, got {self.prompts}")
        if not (0 <= self.threshold < 1 and 0 <= self.attention_threshold < 1):
            raise InputError(f"thresholds must lie in 0..1, got {self.threshold} and {self.attention_threshold}")
        snapped = tuple(dict.fromkeys(nearest(passed, t) for t in self.timesteps))
        object.__setattr__(self, "timesteps", snapped)


@dataclass(frozen=True)
class Subject:
    """One photo.

    Attributes:
        name: for people and for file names.
        words: that are asked for; with a truth those that are in it.
        prompt: holds every word; the U-Net's prompt, from which a picture is generated too.
        caption: the captioner's.
        truth: (H, W) segments, 255 left out, or None.
        masks: word -> (H, W) bool where it is, empty without a truth.
    """

    name: str
    image: Image
    words: tuple[str, ...]
    prompt: str
    caption: str
    truth: Truth | None = None
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def listing(words: Sequence[str]) -> str:
    """("horse", "apple") -> "a horse and an apple"."""
    return " and ".join(("an " if w[:1].lower() in "aeiou" else "a ") + w for w in words)


def prompt_with(networks: Networks, caption: str, words: Sequence[str]) -> str:
    """The caption, if it holds every word; else "a photo of a WORD and a WORD"."""
    return caption if not lost(networks, caption, words) else f"a photo of {listing(words)}"


def check_prompt(networks: Networks, prompt: str, words: Sequence[str]) -> str:
    """The prompt, if it holds every word within the tokens that the text encoder reads.

    Raises:
        InputError: it does not.
    """
    gone = lost(networks, prompt, words)
    if gone:
        raise InputError(f"the prompt must hold every word, but {gone[0]!r} is not in {prompt!r}, or beyond its last token")
    return prompt


def lost(networks: Networks, prompt: str, words: Sequence[str]) -> list[str]:
    """Words that the U-Net does not get to hear."""
    diffusion = networks.diffusion
    last = int(diffusion.text_encoders[0].config.max_position_embeddings) - 1
    found = {word: word_places(diffusion.tokenizers[0], prompt, word) for word in words}
    return [word for word, places in found.items() if not places or places[-1] >= last]
