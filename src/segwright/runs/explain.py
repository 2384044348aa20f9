"""One HTML page a photo, self-contained, that shows how a method or a refiner came to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segwright.errors import InputError
from segwright.files.disk import atomic_write
from segwright.files.html import colour_regions, principal_components
from segwright.methods.cliper import explain as cliper
from segwright.methods.cliper.method import CLIPer
from segwright.methods.freeseg_diff import explain as freeseg_diff
from segwright.methods.freeseg_diff.method import FreeSegDiff
from segwright.methods.iseg import explain as iseg
from segwright.methods.iseg.method import ISeg
from segwright.methods.ovdiff import explain as ovdiff
from segwright.methods.ovdiff.bank_sheet import bank_sheet
from segwright.methods.ovdiff.method import OVDiff
from segwright.refine.g4seg.explain import explain_g4seg
from segwright.types import Image

PAGES: dict[type, Callable[..., str]] = {
    FreeSegDiff: freeseg_diff.page,
    OVDiff: ovdiff.page,
    CLIPer: cliper.page,
    ISeg: iseg.page,
}


def explain(image: Image, method: Any, out: str | Path, words: Sequence[str] | None = None, title: str = "") -> Path:
    """Segment one photo and write the page of its steps.

    Args:
        image: (H, W, 3) uint8.
        method: one that has a page (``PAGES``).
        out: the HTML file; it holds its pictures itself and opens without a network.
        words: as for the method.

    Raises:
        InputError: as the method; or a method that has no such page.
        WeightsError: as the method.
        OutputError: the page cannot be written.
    """
    make = PAGES.get(type(method))
    if make is None:
        known = ", ".join(kind.__name__ for kind in PAGES)
        raise InputError(f"there is a page of steps for {known} only, not for {type(method).__name__}")
    return atomic_write(out, make(image, method, words, title).encode("utf8"))


__all__ = ["bank_sheet", "colour_regions", "explain", "explain_g4seg", "principal_components"]
