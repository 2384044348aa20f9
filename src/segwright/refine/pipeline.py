"""Any number of refiners, one after the other: for every method, for masks from files, and for the page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segwright.errors import InputError
from segwright.refine import REFINERS
from segwright.refine.base import Refiner
from segwright.settings import Tree, changed, settings_tree
from segwright.types import Image, Scores
from segwright.weights import Networks

Row = str | Refiner | Sequence[str | Refiner] | Mapping[str, Mapping[str, Any]] | None
# "g4seg,crf", CRF(iterations=5), ("g4seg", CRF()), {"g4seg": {"timestep": 100}, "crf": {}}, None


def parse_refiners(row: Row, own: Mapping[str, Refiner] | None = None) -> tuple[Refiner, ...]:
    """The refiners of a row; "pamr,crf" -> (PAMR(), CRF()).

    Args:
        own: what a name means where it is not the refiner's own defaults (FreeSeg-Diff has another CRF).

    Raises:
        InputError: an unknown refiner, or a setting that it does not have.
    """
    if isinstance(row, Mapping):
        return changed_row(tuple(row), row, own)
    known: dict[str, Refiner | type[Refiner]] = {**REFINERS, **(own or {})}
    parts = () if row is None else row.split(",") if isinstance(row, str) else (row,) if isinstance(row, Refiner) else row
    return tuple(part if isinstance(part, Refiner) else _find(part.strip(), known) for part in parts)


def changed_row(
    row: Row, changes: Mapping[str, Mapping[str, Any]], own: Mapping[str, Refiner] | None = None
) -> tuple[Refiner, ...]:
    """The refiners of a row, with some settings changed: {"g4seg": {"timestep": 100}}.

    Args:
        own: as for ``parse_refiners``.

    Raises:
        InputError: an unknown refiner or setting, or changes of a refiner that is not in the row.
    """
    found = parse_refiners(row, own)
    absent = [name for name in changes if name not in {refiner.name for refiner in found}]
    if absent:
        names = ",".join(refiner.name for refiner in found) or "none"
        raise InputError(f"{absent[0]} is not among the refiners ({names}), so its settings change nothing; name it among them")
    return tuple(changed(r, changes[r.name], r.name) if r.name in changes else r for r in found)


def refiner_settings() -> dict[str, Tree]:
    """All that can be set of refiners by name: "g4seg" -> its settings."""
    return {name: settings_tree(kind) for name, kind in REFINERS.items()}


def _find(name: str, known: Mapping[str, Refiner | type[Refiner]]) -> Refiner:
    if name not in known:
        raise InputError(f"refine must be of {', '.join(known)}, several joined by commas, or None, got {name!r}")
    found = known[name]
    return found() if isinstance(found, type) else found


def refine(image: Image, scores: Scores, row: Sequence[Refiner], networks: Networks | None = None) -> Scores:
    """The scores after all refiners, in their order; scores of a single label pass unchanged.

    Args:
        networks: for refiners that run on networks. Nothing is loaded that no refiner asks for.
    """
    for refiner in row:
        if len(scores.labels) > 1:
            scores = refiner(image, scores, networks)
    return scores
