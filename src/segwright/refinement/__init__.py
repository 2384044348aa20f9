"""Masks from anywhere, refined: what ``segwright refine`` does."""

from segwright.refinement.coarse import find_mask, hard_scores, parse_words_map, read_coarse, soft_scores
from segwright.refinement.run import Refined, RefinementSettings, refine_masks

__all__ = [
    "Refined", "RefinementSettings", "find_mask", "hard_scores", "parse_words_map", "read_coarse", "refine_masks", "soft_scores",
]  # fmt: skip
