"""Segment Anything as a generator of class-agnostic proposals (Kirillov et al. 2023), thin over transformers' SamModel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segwright.models.pixels import Pixels
from segwright.types import Image

POINTS = 32  # a side of the grid of prompts: SAM's automatic mode, like the next four
CHUNK = 64  # points at once
SURE = 0.88  # predicted IoU below which a mask is dropped
STABLE = 0.95  # IoU of the mask cut at +1 and at -1, below which it is dropped
ALIKE = 0.7  # IoU above which the weaker of two masks is dropped


class Sam:
    """A frozen ``transformers.SamModel``; photos are squeezed to its square (support pictures are square anyway)."""

    def __init__(self, model: Any, pixels: Pixels) -> None:
        self.model = model
        self.pixels = pixels

    @torch.no_grad()
    def proposals(self, image: Image, points: int = POINTS) -> Tensor:
        """Masks of whatever stands out, strongest first, (R, h, w) bool at the network's mask resolution (256 for SAM)."""
        device, side = self.model.device, self.pixels.side
        seen = self.model.get_image_embeddings(self.pixels([image], device, self.model.dtype))
        grid = (torch.arange(points, device=device) + 0.5) * side / points
        where = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1).view(-1, 1, 2).to(self.model.dtype)
        masks, scores = [], []
        for some in where.split(CHUNK):
            out = self.model(image_embeddings=seen, input_points=some[None], multimask_output=True)
            logits, sure = out.pred_masks[0].flatten(0, 1).float(), out.iou_scores[0].flatten().float()
            stable = _overlap(logits > 1, logits > -1)
            kept = (sure >= SURE) & (stable >= STABLE) & (logits > 0).any(2).any(1)
            masks.append(logits[kept] > 0)
            scores.append(sure[kept])
        return distinct(torch.cat(masks), torch.cat(scores))


def distinct(masks: Tensor, scores: Tensor) -> Tensor:
    """Masks (R, h, w) bool by falling score, without those that a stronger one overlaps by IoU above ``ALIKE``."""
    kept: list[Tensor] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(float(_overlap(masks[i][None], other[None])) <= ALIKE for other in kept):
            kept.append(masks[i])
    return torch.stack(kept) if kept else masks[:0]


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """(R,) IoU of (R, h, w) bool masks, one by one."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp(min=1)
