"""BLIP: one English sentence about a photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segwright.models.pixels import Pixels
from segwright.types import Image

BEAMS, LONGEST = 3, 20  # BLIP's own captioning settings (its repository's generate(): num_beams=3, max_length=20)


LAVIS = "a picture of"


class Captioner:
    """A frozen ``transformers.BlipForConditionalGeneration``.

    Attributes:
        beams: width of the beam search: what the folder's generation_config.json says, else BLIP's own 3. Without sampling:
            the same photo always gives the same words.
        longest: most tokens of a caption, likewise; else 20.
    """

    def __init__(self, model: Any, tokenizer: Any, pixels: Pixels) -> None:
        from segwright.models.blip import quicken

        self.model = model
        quicken(model)
        self.tokenizer = tokenizer
        self.pixels = pixels
        config = model.generation_config
        self.beams = int(config.num_beams) if (config.num_beams or 1) > 1 else BEAMS
        self.longest = int(config.max_length or LONGEST)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @torch.no_grad()
    def caption(
        self,
        images: Sequence[Image | Tensor],
        prompt: str | None = None,
        beams: int | None = None,
        batch: int = 16,
        *,
        least: int = 0,
        longest: int | None = None,
    ) -> list[str]:
        """One caption a photo, without special tokens.

        Args:
            images: (H, W, 3) uint8 arrays of any sizes, or (3, H, W) uint8 tensors; squeezed to the network's square.
            prompt: how every caption begins ("a photograph of"); it is part of the answer, and all of it where it is as long
                as a caption may be.
            beams: 1 is greedy; ``self.beams`` if None.
            least: fewest tokens, the prompt's and the first and last among them.
            longest: most tokens, likewise; ``self.longest`` if None.
        """
        most = longest or self.longest
        if prompt and len(self.tokenizer(prompt).input_ids) - 1 >= most:  # its last token is no part of the start
            return [prompt] * len(images)
        from segwright.models.blip import PhotoCache

        captions: list[str] = []
        for i in range(0, len(images), batch):
            pixels = self.pixels(images[i : i + batch], self.device, self.model.dtype)
            tokens = self.model.generate(
                pixel_values=pixels,
                num_beams=beams or self.beams,
                do_sample=False,
                max_length=most,
                min_length=min(least, most),
                max_new_tokens=None,
                past_key_values=PhotoCache(len(pixels)),
                **self._start(prompt, len(pixels)),
            )
            captions += [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        return captions

    def published(self, images: Sequence[Image | Tensor]) -> list[str]:
        """Captions as LAVIS, which FreeSeg-Diff's published code calls, has them by default: the prompt "a picture of " (not
        part of the answer), 3 beams, 10 to 30 tokens."""
        found = self.caption(images, LAVIS, 3, least=10, longest=30)
        return [text[len(LAVIS) :].strip() if text.lower().startswith(LAVIS) else text for text in found]

    def _start(self, prompt: str | None, count: int) -> dict[str, Tensor]:
        if not prompt:
            return {}
        tokens = self.tokenizer([prompt] * count, return_tensors="pt").to(self.device)
        return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
