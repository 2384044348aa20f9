"""Refiners: (image, scores, settings) -> scores, sharper along the picture's edges."""

from collections.abc import Callable

from segwright.models.null_text import InversionSettings
from segwright.refine.crf import CRF_CONSTANTS, CRFSettings, crf, crf_batch, crf_binary, crf_filter
from segwright.refine.g4seg.method import g4seg, g4seg_batch
from segwright.refine.g4seg.settings import G4SegSettings
from segwright.refine.pamr import pamr, pamr_batch
from segwright.types import Scores

REFINERS: dict[str, Callable[..., Scores]] = {"crf": crf, "pamr": pamr, "g4seg": g4seg}
NEED_NETWORKS = ("g4seg",)  # these take ``model=``, the networks they run on

__all__ = [
    "CRF_CONSTANTS",
    "NEED_NETWORKS",
    "REFINERS",
    "CRFSettings",
    "G4SegSettings",
    "InversionSettings",
    "crf",
    "crf_batch",
    "crf_binary",
    "crf_filter",
    "g4seg",
    "g4seg_batch",
    "pamr",
    "pamr_batch",
]  # fmt: skip
