"""segwright names what is in a picture and cuts it out, with frozen diffusion models and no training.

>>> import segwright as sw
>>> image = sw.read("street.jpg")
>>> segmentation = sw.load_method("best", "mini")(image, words=["dog", "car"])
>>> sw.save(segmentation, "street.png")
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segwright import refine as refine
    from segwright.datasets import DATASETS as DATASETS
    from segwright.datasets import list_datasets as list_datasets
    from segwright.datasets import open_dataset as open_dataset
    from segwright.diagnosis.run import diagnose as diagnose
    from segwright.diagnosis.subject import DiagnoseSettings as DiagnoseSettings
    from segwright.evaluation.compare import compare as compare
    from segwright.evaluation.run import evaluate as evaluate
    from segwright.evaluation.tables import table as table
    from segwright.fetching import fetch as fetch
    from segwright.files.overlay import overlay as overlay
    from segwright.files.save import save as save
    from segwright.images import read as read
    from segwright.mending.doctor import doctor as doctor
    from segwright.methods import METHODS as METHODS
    from segwright.methods import list_methods as list_methods
    from segwright.methods import load_method as load_method
    from segwright.methods.base import MethodSpec as MethodSpec
    from segwright.methods.freeseg_diff.method import FreeSegDiff as FreeSegDiff
    from segwright.methods.freeseg_diff.method import FreeSegDiffSettings as FreeSegDiffSettings
    from segwright.methods.ovdiff.making import prototypes as prototypes
    from segwright.methods.ovdiff.method import OVDiff as OVDiff
    from segwright.methods.ovdiff.method import OVDiffSettings as OVDiffSettings
    from segwright.methods.ovdiff.support import SupportSettings as SupportSettings
    from segwright.presets import list_presets as list_presets
    from segwright.refine import CRF as CRF
    from segwright.refine import PAMR as PAMR
    from segwright.refine import G4Seg as G4Seg
    from segwright.runs.explain import explain as explain
    from segwright.runs.exports import export as export
    from segwright.runs.overview import overview as overview
    from segwright.runs.refine_masks import refine_masks as refine_masks
    from segwright.runs.segment import segment as segment
    from segwright.selfcheck.bench import bench as bench
    from segwright.selfcheck.run import examine as examine
    from segwright.server.page import serve as serve
    from segwright.server.review import review as review
    from segwright.types import Scores as Scores
    from segwright.types import Segmentation as Segmentation
    from segwright.weights import load as load

try:
    __version__ = version("segwright")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0"

# name -> where it lives; imported when first used, so that ``import segwright`` stays light
_HOMES = {
    "read": "segwright.images", "save": "segwright.files.save", "overlay": "segwright.files.overlay",
    "load": "segwright.weights", "segment": "segwright.runs.segment", "explain": "segwright.runs.explain",
    "export": "segwright.runs.exports", "overview": "segwright.runs.overview", "refine_masks": "segwright.runs.refine_masks",
    "FreeSegDiff": "segwright.methods.freeseg_diff.method", "FreeSegDiffSettings": "segwright.methods.freeseg_diff.method",
    "prototypes": "segwright.methods.ovdiff.making",
    "OVDiff": "segwright.methods.ovdiff.method", "OVDiffSettings": "segwright.methods.ovdiff.method",
    "SupportSettings": "segwright.methods.ovdiff.support",
    "evaluate": "segwright.evaluation.run", "MethodSpec": "segwright.methods.base",
    "load_method": "segwright.methods", "METHODS": "segwright.methods",
    "CRF": "segwright.refine", "PAMR": "segwright.refine", "G4Seg": "segwright.refine", "compare": "segwright.evaluation.compare",
    "table": "segwright.evaluation.tables", "open_dataset": "segwright.datasets", "DATASETS": "segwright.datasets",
    "diagnose": "segwright.diagnosis.run", "DiagnoseSettings": "segwright.diagnosis.subject",
    "serve": "segwright.server.page", "review": "segwright.server.review",
    "fetch": "segwright.fetching", "examine": "segwright.selfcheck.run", "bench": "segwright.selfcheck.bench",
    "doctor": "segwright.mending.doctor",
    "list_methods": "segwright.methods", "list_presets": "segwright.presets", "list_datasets": "segwright.datasets",
    "Scores": "segwright.types", "Segmentation": "segwright.types",
}  # fmt: skip
__all__ = [*_HOMES, "__version__", "refine"]


def __getattr__(name: str) -> Any:
    if name == "refine":
        return import_module("segwright.refine")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'segwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
