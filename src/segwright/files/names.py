"""Names for the results of several photos, so that none overwrites another, or a photo."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ENDINGS = (".png", ".overlay.png", ".json")
LONGEST = 200  # bytes of a name; file systems take 255, endings and numbers included


def plan_names(
    photos: Sequence[Path], out: str | os.PathLike[str], known: Mapping[Path, Path] | None = None, kept: Iterable[Path] = ()
) -> dict[Path, Path]:
    """For each photo the path of its results without their ``ENDINGS``, inside ``out``.

    ``street.jpg`` becomes ``out/street``. Photos whose names agree up to the suffix go to the sub-folders in which
    they differ: ``a/street.jpg, b/street.jpg`` become ``out/a/street, out/b/street``. Where that is not enough (the
    same folder and another suffix, or a result would replace one of the photos), ``-2``, ``-3`` ... is added in the
    order given. Upper and lower case count as equal, because some disks think so. Names over ``LONGEST`` bytes are
    cut.

    Args:
        known: names that were given before and stay.
        kept: files in ``out`` that no result may replace.
    """
    out = Path(out)
    taken = {_key(photo) for photo in photos} | {_key(file) for file in kept}
    plan = dict(known or {})
    taken |= {key for stem in plan.values() for key in _files(stem)}
    for photo, wanted in zip(photos, _wanted(photos), strict=True):
        if photo not in plan:
            plan[photo] = next(stem for stem in _numbered(out / wanted) if not _files(stem) & taken)
            taken |= _files(plan[photo])
    return plan


def _wanted(photos: Sequence[Path]) -> list[Path]:
    """Each photo's stem, with the differing sub-folders where several have the same."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for photo in photos:
        groups[_cut(photo.stem).casefold()].append(photo)
    shared = {name: _shared(alike) for name, alike in groups.items()}
    return [_below(photo, shared[_cut(photo.stem).casefold()]) / _cut(photo.stem) for photo in photos]


def _shared(alike: list[Path]) -> str | None:
    """The folder that holds all of several photos; None for a single one, and where there is none (Windows drives)."""
    try:
        return os.path.commonpath([_parent(photo) for photo in alike]) if len(alike) > 1 else None
    except ValueError:
        return None


def _below(photo: Path, shared: str | None) -> Path:
    return Path() if shared is None else Path(os.path.relpath(_parent(photo), shared))


def _parent(photo: Path) -> str:
    return os.path.dirname(os.path.abspath(photo))


def _numbered(stem: Path) -> Iterator[Path]:
    yield stem
    number = 2
    while True:
        yield stem.with_name(f"{stem.name}-{number}")
        number += 1


def _cut(name: str) -> str:
    while len(os.fsencode(name)) > LONGEST:
        name = name[:-1]
    return name


def _files(stem: Path) -> set[str]:
    return {_key(Path(f"{stem}{ending}")) for ending in ENDINGS}


def _key(path: Path) -> str:
    return os.path.realpath(path).casefold()
