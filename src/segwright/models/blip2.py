"""BLIP-2 (Li et al. 2023), which FreeSeg-Diff's paper cites: a ViT's patches, 32 queries, and a language model that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segwright.models.captioner import Captioner
from segwright.models.pixels import Pixels
from segwright.types import Image

BEAMS, LONGEST = 5, 30  # LAVIS's generate() for BLIP-2 with OPT: num_beams=5, max_length=30


class Blip2Captioner(Captioner):
    """A frozen ``transformers.Blip2ForConditionalGeneration`` whose language model is a decoder (OPT).

    Attributes:
        beams: width of the beam search (LAVIS: 5).
        longest: most tokens of a caption (LAVIS: 30).
    """

    def __init__(self, model: Any, tokenizer: Any, pixels: Pixels) -> None:
        self.model, self.tokenizer, self.pixels = model, tokenizer, pixels
        self.beams, self.longest = BEAMS, LONGEST

    @torch.no_grad()
    def caption(
        self,
        images: Sequence[Image | Tensor],
        prompt: str | None = None,
        beams: int | None = None,
        batch: int = 4,
        *,
        least: int = 0,
        longest: int | None = None,
    ) -> list[str]:
        text = self.model.config.text_config
        start = [text.bos_token_id, *(self.tokenizer(prompt, add_special_tokens=False).input_ids if prompt else ())]
        left = (longest or self.longest) - len(start)
        if left < 1:
            return [prompt or ""] * len(images)
        captions: list[str] = []
        for i in range(0, len(images), batch):
            seen = self.queries(self.pixels(images[i : i + batch], self.device, self.model.vision_model.dtype))
            words = self.model.language_model.get_input_embeddings()(torch.tensor(start, device=self.device))
            embedded = torch.cat([seen.to(words.dtype), words.expand(len(seen), -1, -1)], 1)
            tokens = self.model.language_model.generate(
                inputs_embeds=embedded,
                attention_mask=embedded.new_ones(embedded.shape[:2], dtype=torch.long),
                num_beams=beams or self.beams,
                do_sample=False,
                max_new_tokens=left,
                min_new_tokens=max(0, min(least - len(start), left)),
                max_length=None,
                eos_token_id=text.eos_token_id,
                pad_token_id=text.pad_token_id,
            )
            found = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            captions += [f"{prompt or ''}{one}".strip() for one in found]
        return captions

    def queries(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, 32, C): what the language model reads of each photo."""
        model = self.model
        patches = model.vision_model(pixels).last_hidden_state
        asked = model.query_tokens.expand(len(pixels), -1, -1)
        found = model.qformer(query_embeds=asked, encoder_hidden_states=patches.to(asked.dtype)).last_hidden_state
        projected: Tensor = model.language_projection(found.to(model.language_projection.weight.dtype))
        return projected
