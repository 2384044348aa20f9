"""One HTML page a photo, self-contained, that shows how a method came to its result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segwright.files.disk import atomic_write
from segwright.methods.base import Method
from segwright.methods.freeseg_diff import backbones
from segwright.methods.freeseg_diff.method import FreeSegDiffSettings
from segwright.refine.base import Refiner
from segwright.types import Image, Scores
from segwright.weights import Networks


def explain(image: Image, method: Method, out: str | Path, words: Sequence[str] | None = None, title: str = "") -> Path:
    """Segment one photo and write the page of its steps.

    Args:
        image: (H, W, 3) uint8.
        method: one that has such a page.
        out: the HTML file; it holds its pictures itself and opens without a network.
        words: as for the method.

    Raises:
        InputError: as the method; or a method that has no such page.
        WeightsError: as the method.
        OutputError: the page cannot be written.
    """
    return atomic_write(out, method.explain(image, words, title).html().encode("utf8"))


def explain_mask(image: Image, scores: Scores, refiner: Refiner, networks: Networks, out: str | Path, *, title: str = "") -> Path:
    """Refine one photo's coarse scores and write the page of the steps.

    Args:
        image: (H, W, 3) uint8.
        scores: coarse, of the photo's size.
        refiner: one that has such a page.
        out: the HTML file.

    Raises:
        InputError: as the refiner; or a refiner that has no such page.
        WeightsError: as the refiner.
        OutputError: the page cannot be written.
    """
    return atomic_write(out, refiner.explain(image, scores, networks, title).html().encode("utf8"))


def explain_backbones(
    image: Image, networks: Networks, out: str | Path, settings: FreeSegDiffSettings | None = None, *, title: str = ""
) -> Path:
    """Cluster what different frozen networks make of one photo and write the page of it (FreeSeg-Diff, Fig. 3).

    Args:
        image: (H, W, 3) uint8.
        networks: the diffusion model, CLIP, and the plain vision transformers that they have; those of the paper from the hub.
        out: the HTML file.
        settings: FreeSeg-Diff's; features, clusters, restarts and seed count.

    Raises:
        InputError: not a photo, or more clusters than cells.
        WeightsError: networks that cannot be loaded.
        OutputError: the page cannot be written.
    """
    return atomic_write(out, backbones.page(image, networks, settings, title).html().encode("utf8"))
