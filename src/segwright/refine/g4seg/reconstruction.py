"""A photo noised and denoised under its coarse masks (G4Seg, Secs. II-C and II-C1), one picture a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.models.controlnet import ControlNet
from segwright.models.diffusion import Diffusion, Embedding
from segwright.models.null_text import generate, invert
from segwright.refine.g4seg.injection import Injection, injected
from segwright.refine.g4seg.settings import G4SegSettings

DECODED = 2  # pictures decoded at once: at 512 pixels each takes about 2 GB in float32


@dataclass(frozen=True)
class Reconstructor:
    """Reconstructs one photo.

    Attributes:
        latents: (1, 4, h, w) of the photo.
        controlnet: takes the place of the injection into attention (Table VIII).
    """

    diffusion: Diffusion
    latents: Tensor
    settings: G4SegSettings
    controlnet: ControlNet | None = None

    @property
    def side(self) -> int:
        """Pixels of the square."""
        return self.latents.shape[2] * self.diffusion.cell

    @torch.no_grad()
    def __call__(self, words: Sequence[str], masks: Tensor, inject: bool = True) -> Tensor:
        """(K, 3, S, S) float32 in 0..1: x0~ of Eq. 2, decoded, for each class.

        Args:
            words: the K classes' names.
            masks: (K, S, S) float32 in 0..1, their coarse masks.
            inject: False leaves the masks out.
        """
        clean = self._clean(words, masks, inject, None)
        return torch.cat([self.diffusion.decode(part) for part in clean.split(DECODED)])

    @torch.no_grad()
    def attention(self, words: Sequence[str], masks: Tensor, grid: int) -> Tensor:
        """(K, grid * grid) float32: attention to each class's name under injection, mean over layers, scaled to 0..1."""
        seen: list[Tensor] = []
        tokens = self._tokens(words)

        def take(probabilities: Tensor) -> None:
            named = (probabilities * tokens[:, None]).sum(2)
            side = round(named.shape[1] ** 0.5)
            seen.append(F.interpolate(named.view(-1, 1, side, side), (grid, grid), mode="bilinear", align_corners=False).flatten(1))

        self._clean(words, masks, True, take)
        total = torch.stack(seen).mean(0)
        low, high = total.amin(1, keepdim=True), total.amax(1, keepdim=True)
        return (total - low) / (high - low).clamp(min=1e-12)

    def _clean(self, words: Sequence[str], masks: Tensor, inject: bool, on_map: Callable[[Tensor], None] | None) -> Tensor:
        """(K, 4, h, w) latents."""
        settings, diffusion = self.settings, self.diffusion
        embedding = diffusion.embed([settings.prompt.replace("{}", word) for word in words])
        latents = self.latents.expand(len(words), -1, -1, -1)
        layout = self._layout(words, masks) if self.controlnet is not None and inject else None
        injection = None
        if (inject and self.controlnet is None) or on_map is not None:
            weights = (settings.cross, settings.self_, settings.half, settings.injection == "ranged")
            injection = Injection(masks.to(diffusion.device), self._tokens(words), *weights)

        def predict(noised: Tensor, timestep: int) -> Tensor:
            with nullcontext() if injection is None else injected(diffusion.unet, injection, on_map):
                return diffusion.predict(noised, timestep, embedding, self._residuals(noised, timestep, embedding, layout))

        if settings.inversion is None:
            noised = diffusion.noise(latents, settings.timestep, settings.seed)
            return diffusion.clean(noised, settings.timestep, predict(noised, settings.timestep))
        return generate(diffusion, invert(diffusion, latents, settings.timestep, embedding, settings.inversion), predict)

    def _tokens(self, words: Sequence[str]) -> Tensor:
        """(K, L) float32, 1 where a prompt's tokens are those of its word."""
        tokenizer, length = self.diffusion.tokenizers[0], self.diffusion.text_encoders[0].config.max_position_embeddings
        before = len(_plain(tokenizer, self.settings.prompt.split("{}")[0]))
        found = torch.zeros(len(words), length, device=self.diffusion.device)
        for row, word in zip(found, words, strict=True):
            start = before + 1  # the first token says that a text begins
            row[start : min(start + len(_plain(tokenizer, word)), length - 1)] = 1
        return found

    def _residuals(self, latents: Tensor, timestep: int, embedding: Embedding, layout: Tensor | None) -> dict[str, Any] | None:
        if layout is None or self.controlnet is None:
            return None
        return self.controlnet.residuals(self.diffusion, latents, timestep, embedding, layout)

    def _layout(self, words: Sequence[str], masks: Tensor) -> Tensor:
        """(K, 3, S, S) in 0..1: each class's mask in its colour on black."""
        colors = dict(self.settings.layout_colors)
        table = torch.tensor([colors.get(word, (255, 255, 255)) for word in words], device=masks.device) / 255
        return table[:, :, None, None] * (masks >= 0.5)[:, None]


def _plain(tokenizer: Any, text: str) -> list[int]:
    """Token numbers without the special ones."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)
