"""What G4Seg adds to the coarse masks of each method, on the miniature world: with and without CRF after it, in parts, by timestep.

Differences are paired: the same photos, resampled together, give the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.methods import METHODS, find_method
from segwright.methods.refining import Refiner, refine, refiners
from segwright.metrics import confusion, miou
from segwright.mini.scenes import THINGS
from segwright.mini.voc import Shipped
from segwright.refine import G4SegSettings, g4seg
from segwright.types import Scores
from segwright.weights import Networks

Matrices = NDArray[np.int64]  # (photos, classes, classes)
RESAMPLES = 1000
BATCH = 4
ORDERS = ("g4seg", "crf", "g4seg,crf")
ABLATION: dict[str, dict[str, Any]] = {  # Table III
    "injection alone": {"correspondence": False, "certain": None},
    "correspondence alone": {"cross": 0.0, "self_": 0.0, "certain": None},
    "both": {"certain": None},
    "both, filter [0.2, 0.6]": {"certain": (0.2, 0.6)},
    "both, filter [0.1, 0.7]": {"certain": (0.1, 0.7)},
    "correspondence alone, filter [0.2, 0.6]": {"cross": 0.0, "self_": 0.0, "certain": (0.2, 0.6)},
    "both, filter, matches anywhere (Eq. 8)": {"certain": (0.2, 0.6), "reach": None},
}
TIMESTEPS = (100, 200, 300, 400, 500, 600, 700)  # Fig. 4


@dataclass(frozen=True)
class Change:
    """mIoU before and after in percent, and the 95 % interval of the difference over resampled photos."""

    before: float
    after: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.before:.2f} -> {self.after:.2f} ({self.after - self.before:+.2f} [{self.low:+.2f}, {self.high:+.2f}])"


@dataclass(frozen=True)
class Coarse:
    """The unrefined scores of one method on all photos, and its own refiners."""

    name: str
    networks: Networks
    scores: tuple[Scores, ...]
    own: Mapping[str, Refiner]


def coarse_masks(name: str, networks: Networks, scenes: Shipped, load: Callable[..., Any] | None = None, **settings: Any) -> Coarse:
    """One method of ``METHODS`` without refinement, with the 24 words.

    Args:
        load: builds the method from its settings; by default its own ``load`` with the networks' preset.
    """
    kind = find_method(name)
    make = load or partial(kind.load, networks.preset.name, str(networks.device))
    method = make(refine=None, **settings)
    found: list[Scores] = []
    for i in range(0, len(scenes.images), BATCH):
        for result in method.many(scenes.images[i : i + BATCH], THINGS):
            found.append(result.scores)
    return Coarse(name, networks, tuple(found), dict(getattr(method, "refiners", {})))


def matrices(scenes: Shipped, scores: Iterable[Scores]) -> Matrices:
    """One confusion matrix a photo, over the 24 classes and background."""
    rows = []
    for truth, item in zip(scenes.truths, scores, strict=True):
        place = {w: THINGS.index(w) + 1 for w in item.words if w in THINGS}
        table = np.array([0, *(place.get(w, 0) for w in item.words)])
        rows.append(confusion(truth, table[item.argmax().cpu().numpy()], len(THINGS) + 1))
    return np.stack(rows)


def change(before: Matrices, after: Matrices, resamples: int = RESAMPLES, seed: int = 0) -> Change:
    """The dataset-level difference, and its percentile bootstrap over photos, the same photos in both."""
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        picked = rng.integers(0, len(before), len(before))
        differences.append(100 * (miou(after[picked].sum(0)) - miou(before[picked].sum(0))))
    low, high = np.percentile(differences, [2.5, 97.5])
    return Change(100 * miou(before.sum(0)), 100 * miou(after.sum(0)), float(low), float(high))


def gains(coarse: Coarse, scenes: Shipped, orders: Sequence[str] = ORDERS) -> dict[str, Change]:
    """The change by each order of refiners, and of G4Seg with CRF beside CRF alone."""
    before = matrices(scenes, coarse.scores)
    found = {o: matrices(scenes, _refined(coarse, scenes, o)) for o in orders}
    changes = {order: change(before, after) for order, after in found.items()}
    if "crf" in found and "g4seg,crf" in found:
        changes["g4seg,crf beside crf"] = change(found["crf"], found["g4seg,crf"])
    return changes


def ablation(coarse: Coarse, scenes: Shipped) -> dict[str, Change]:
    """Table III's rows and Fig. 4's timesteps, G4Seg alone."""
    before = matrices(scenes, coarse.scores)
    base = _settings(coarse)
    variants = {name: replace(base, **options) for name, options in ABLATION.items()}
    variants |= {f"timestep {t}": replace(base, timestep=t) for t in TIMESTEPS}
    rows = {}
    for name, settings in variants.items():
        own = {"g4seg": partial(g4seg, model=coarse.networks, settings=settings)}
        rows[name] = change(before, matrices(scenes, _refined(replace(coarse, own=own), scenes, "g4seg")))
    return rows


def measure_g4seg(
    networks: Networks,
    scenes: Shipped,
    methods: Sequence[str] = tuple(METHODS),
    ablated: Sequence[str] = ("freeseg-diff",),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, Change]]:
    """All rows: method -> order or variant -> change.

    Args:
        options: method -> further keywords of its ``load`` (OVDiff's bank).
    """
    table: dict[str, dict[str, Change]] = {}
    for name in methods:
        coarse = coarse_masks(name, networks, scenes, **(options or {}).get(name, {}))
        table[name] = gains(coarse, scenes) | (ablation(coarse, scenes) if name in ablated else {})
        for row, found in table[name].items():
            say(f"{name:14s} {row:42s} {found}")
    return table


def _settings(coarse: Coarse) -> G4SegSettings:
    """Those with which this method's own G4Seg runs."""
    return getattr(coarse.own.get("g4seg"), "keywords", {}).get("settings", G4SegSettings())


def _refined(coarse: Coarse, scenes: Shipped, order: str) -> list[Scores]:
    known = refiners(coarse.networks, coarse.own)
    return [refine(i, s, order, coarse.networks, known) for i, s in zip(scenes.images, coarse.scores, strict=True)]
