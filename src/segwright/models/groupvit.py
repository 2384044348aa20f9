"""GroupViT: patches grouped into segments by learned group tokens, segments and words in one space (Xu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.errors import InputError
from segwright.models.clip import Clip
from segwright.models.pixels import Pixels


@dataclass(frozen=True)
class Groups:
    """What the grouping blocks made of pictures.

    Attributes:
        assignment: (B, G, h, w) float32, how strongly each cell belongs to each of the last stage's groups: the product of
            all grouping blocks' soft assignments (columns sum to 1 over G).
        vectors: (B, G, D) float32, the groups as unit vectors in the joint space.
        images: (B, D) float32, the whole pictures as unit vectors.
    """

    assignment: Tensor
    vectors: Tensor
    images: Tensor


class GroupVit:
    """A frozen ``transformers.GroupViTModel``. Its text side works like CLIP's."""

    def __init__(self, model: Any, tokenizer: Any, pixels: Pixels) -> None:
        self.model = model
        self.pixels = pixels
        self._texts = Clip(model, tokenizer, pixels)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied with before a softmax; at most 100 (the published code)."""
        return min(100.0, self._texts.logit_scale)

    def embed_texts(self, words: Sequence[str], templates: Sequence[str] = ("{}",)) -> Tensor:
        """As ``Clip.embed_texts``."""
        return self._texts.embed_texts(words, templates)

    @torch.no_grad()
    def groups(self, pixels: Tensor) -> Groups:
        """Groups of pictures of any height and width; positions are interpolated.

        Args:
            pixels: (B, 3, H, W) normalised, both sides at least one patch; h = H // patch, w = W // patch.

        Raises:
            InputError: pixels of another shape.
        """
        patch = int(self.model.config.vision_config.patch_size)
        if pixels.ndim != 4 or pixels.shape[1] != 3 or min(pixels.shape[2:]) < patch:
            raise InputError(f"pixels must be (B, 3, H, W) with sides of at least one patch of {patch}, got {tuple(pixels.shape)}")
        tower = self.model.vision_model
        tokens = tower.embeddings(pixels.to(self.device, self.model.dtype), interpolate_pos_encoding=True)
        out = tower.encoder(hidden_states=tokens, output_attentions=True, output_hidden_states=False, return_dict=True)
        last = tower.layernorm(out.last_hidden_state)
        assignment = out.attentions[0].float()
        for block in out.attentions[1:]:
            assignment = block.float() @ assignment
        size = (pixels.shape[2] // patch, pixels.shape[3] // patch)
        return Groups(assignment.unflatten(2, size), self._project(last), self._project(last.mean(1, keepdim=True))[:, 0])

    def _project(self, tokens: Tensor) -> Tensor:
        """(B, G, C) -> (B, G, D), unit length; the projection's batch norm wants a flat batch."""
        return F.normalize(self.model.visual_projection(tokens.flatten(0, 1)).float(), dim=-1).unflatten(0, tokens.shape[:2])
