"""Refiners: sharper scores along the picture's edges. Each is a frozen dataclass, called with an image and its scores."""

from segwright.models.null_text import InversionSettings
from segwright.refine.base import Refiner
from segwright.refine.crf import CRF, CRF_CONSTANTS, CRFSettings, crf, crf_batch, crf_binary, crf_filter
from segwright.refine.g4seg.emi import EMI
from segwright.refine.g4seg.method import g4seg, g4seg_batch
from segwright.refine.g4seg.refiner import G4Seg
from segwright.refine.g4seg.settings import G4SegSettings
from segwright.refine.pamr import PAMR, pamr, pamr_batch
from segwright.refine.specks import Specks

REFINERS: dict[str, type[Refiner]] = {"crf": CRF, "pamr": PAMR, "g4seg": G4Seg, "emi": EMI, "specks": Specks}

__all__ = [
    "CRF", "CRF_CONSTANTS", "EMI", "PAMR", "REFINERS", "CRFSettings", "G4Seg", "G4SegSettings", "InversionSettings", "Refiner",
    "Specks", "crf", "crf_batch", "crf_binary", "crf_filter", "g4seg", "g4seg_batch", "pamr", "pamr_batch",
]  # fmt: skip
