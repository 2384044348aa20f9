"""FreeSeg-Diff's Fig. 3: k-means of what different frozen networks make of one photo, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segwright.errors import WeightsError
from segwright.files.html import Page, colour_regions, enlarged, figure, image_bytes, principal_components
from segwright.methods.freeseg_diff.method import FreeSegDiffSettings, wide
from segwright.presets import VITS
from segwright.regions.kmeans import kmeans
from segwright.types import Image, check_image
from segwright.weights import Networks

LAYERS = ((-1, "last layer"), (-2, "penultimate layer"))  # "the last or penultimate layer", Sec. 4.2
SIDE = 240  # pixels of a picture
PAPERS = {"dinov2": "DINOv2", "vit": "ViT"}  # Sec. 4.2, beside CLIP's
OWN = {"vit": "ViT", "dino": "DINO", "mae": "MAE"}  # what a folder may have


@dataclass(frozen=True)
class Shown:
    """One backbone's row.

    Attributes:
        name: for people.
        layer: which of its layers, for people.
        features: (C, h, w) float32.
        regions: (H, W) int64 from 0 at the photo's size, numbered so that they overlap most with the first row's.
    """

    name: str
    layer: str
    features: Tensor
    regions: NDArray[np.int64]


Features = Callable[[int], Tensor]  # layer -> (1, C, h, w)


def page(image: Image, networks: Networks, settings: FreeSegDiffSettings | None = None, title: str = "") -> Page:
    """The page of Fig. 3 for one photo: for every backbone that the preset has, its features and their clusters.

    Args:
        image: (H, W, 3) uint8.
        settings: whose ``features``, ``clusters``, ``restarts``, ``prompt`` "empty" and ``seed`` are used.

    Raises:
        InputError: not a photo, or more clusters than cells.
        WeightsError: networks that cannot be loaded.
    """
    settings = settings or FreeSegDiffSettings()
    photo = check_image(image)
    rows = list(shown(photo, networks, settings))
    name = title or "photo"
    intro = (
        f"<p>FreeSeg-Diff, Fig. 3: k-means (K = {settings.clusters}, {settings.restarts} starts, seed {settings.seed}) of what "
        "frozen networks make of the photo. Equal colours are the clusters that overlap most with the first one's.</p>"
        f"<p>Preset <code>{escape(str(networks.preset.name))}</code>.</p>"
    )
    first = _figure(photo, f"{photo.shape[1]} x {photo.shape[0]} pixels")
    clusters = "".join(_figure(colour_regions(row.regions), f"{row.name}, {row.layer}") for row in rows)
    features = "".join(_figure(principal_components(row.features), _about(row)) for row in rows)
    below = f"<h2>Features: first three principal components as colours</h2>{features}"
    return Page(f"{name}: backbones side by side", name, f"{intro}<h2>Clusters</h2>{first}{clusters}{below}")


def _figure(picture: Image, caption: str) -> str:
    return figure(image_bytes(enlarged(picture, SIDE)), caption)


def _about(row: Shown) -> str:
    channels, height, width = row.features.shape
    return f"{row.name}, {row.layer}: {channels} channels, {width} x {height} cells"


def shown(image: Image, networks: Networks, settings: FreeSegDiffSettings) -> Iterator[Shown]:
    """Each row of the page; the diffusion model's is first."""
    first: NDArray[np.int64] | None = None
    for name, layer, features in _features(image, networks, settings):
        found = kmeans(features, settings.clusters, settings.restarts, seed=settings.seed)[0]
        regions = found.nearest((image.shape[0], image.shape[1])).labels.cpu().numpy()
        first = regions if first is None else first
        yield Shown(name, layer, features, renumbered(regions, first))


def _features(image: Image, networks: Networks, settings: FreeSegDiffSettings) -> Iterator[tuple[str, str, Tensor]]:
    """(name, layer, (C, h, w)); transformers' cells are brought to the diffusion model's number before they are clustered, which
    stands for the photo's size (Table 3's caption)."""
    diffusion, wanted = networks.diffusion, settings.features or networks.preset.features
    maps = diffusion.features(diffusion.pixels([image]), wanted, seed=settings.seed)
    yield "Stable Diffusion", f"{wanted.kind} at t={wanted.timestep}", maps[0]
    for name, of_layer in _transformers(image, networks):
        for layer, text in LAYERS:
            yield name, text, wide(of_layer(layer), wanted.size)[0]


def _transformers(image: Image, networks: Networks) -> Iterator[tuple[str, Features]]:
    yield "CLIP's ViT", lambda layer: networks.clip.patch_features([image], layer)
    for name, kind, owner in transformers(networks):
        yield name, lambda layer, kind=kind, owner=owner: getattr(owner, kind).features([image], layer)  # type: ignore[misc]


def transformers(networks: Networks) -> list[tuple[str, str, Networks]]:
    """The plain vision transformers beside CLIP's: name, kind, and the networks that hold it; a folder's are those that it has."""
    if networks.preset.parts:
        owners = ((key, replace(networks, swapped=networks.swapped | {"vit": part})) for key, part in VITS.items())
        return [(PAPERS.get(key, key), "vit", owner) for key, owner in owners]
    return [(name, kind, networks) for kind, name in OWN.items() if _has(networks, kind)]


def _has(networks: Networks, kind: str) -> bool:
    try:
        networks.require(kind)
    except WeightsError:
        return False
    return True


def fetch(networks: Networks) -> None:
    """Fetch all that ``page`` opens, before any work is done.

    Raises:
        WeightsError: it cannot be had.
    """
    networks.prepare(("diffusion", "clip"))
    for _, kind, owner in transformers(networks):
        owner.prepare((kind,))


def renumbered(regions: NDArray[np.int64], like: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same regions (H, W), numbered so that as many pixels as can be have the number that they have in ``like``."""
    count = max(int(regions.max()), int(like.max())) + 1
    both = np.bincount(regions.ravel() * count + like.ravel(), minlength=count * count).reshape(count, count)
    return np.asarray(linear_sum_assignment(-both)[1][regions], np.int64)
