"""Refiners: (image, scores, settings) -> scores, sharper along the picture's edges."""

from collections.abc import Callable

from segwright.refine.crf import PRESETS, CRFSettings, crf, crf_batch, crf_binary
from segwright.refine.pamr import pamr, pamr_batch
from segwright.types import Scores

REFINERS: dict[str, Callable[..., Scores]] = {"crf": crf, "pamr": pamr}

__all__ = ["PRESETS", "REFINERS", "CRFSettings", "crf", "crf_batch", "crf_binary", "pamr", "pamr_batch"]
