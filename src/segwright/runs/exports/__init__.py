"""A run's masks in the formats of other tools: one file a format, each turning a run into named files' contents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from segwright.errors import InputError
from segwright.files.places import find_place
from segwright.runs.exports import coco, cvat, label_studio, labelme, parquet, voc, yolo
from segwright.runs.exports.objects import Annotations, ExportSettings, Features, list_annotations, split
from segwright.runs.exports.target import Target
from segwright.runs.reading import Collection, Done
from segwright.runs.refined import open_results
from segwright.runs.review import accepted
from segwright.runs.sources import file_bytes, open_photo, open_signed
from segwright.runs.store import Line

Writer = Callable[[Annotations, ExportSettings], Iterator[tuple[str, bytes]]]
# name -> what writes it, the kinds of masks that it holds (its own choice first), where it wants photos
FORMATS: dict[str, tuple[Writer, tuple[str, ...], str]] = {
    "coco": (coco.write, ("rle", "polygon", "box"), coco.PHOTOS),
    "yolo": (yolo.write, ("polygon", "box"), yolo.PHOTOS),
    "voc": (voc.write, ("polygon", "box"), voc.PHOTOS),
    "labelme": (labelme.write, ("polygon", "box"), labelme.PHOTOS),
    "cvat": (cvat.write, ("rle", "polygon", "box"), cvat.PHOTOS),
    "label-studio": (label_studio.write, ("rle", "polygon", "box"), label_studio.PHOTOS),
    "parquet": (parquet.write, ("rle", "box"), parquet.PHOTOS),
}
# What a format has beside the folders of its splits, of the words and the splits' names.
ABOVE: dict[str, Callable[[tuple[str, ...], tuple[str, ...]], Iterator[tuple[str, bytes]]]] = {"yolo": yolo.above}


def export(
    run: str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    **settings: Any,
) -> list[str]:
    """Write a run's masks for another tool.

    Args:
        run: what ``segwright segment`` or ``segwright refine`` wrote, as far as it is done.
        format: one of ``FORMATS``.
        out: a folder or URL that holds no run; what an earlier export of the format wrote there is replaced, and removed where
            this one does not write it.
        preset: whose diffusion model tells instances apart; None: the run's own. Other objects need no networks.
        device: of those networks, as for ``segwright.load``.
        settings: as ``segwright.runs.exports.objects.ExportSettings``.

    Returns:
        The files written.

    Raises:
        InputError: no run, a run or a file of somebody else's in ``out``, an unknown format or setting, masks of a kind
            that the format does not hold, or words that the run does not have.
        WeightsError: networks for instances that cannot be loaded.
        OutputError: ``out`` cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    kinds = FORMATS[format][1]
    chosen = ExportSettings(**settings)
    if chosen.kind not in (None, *kinds):
        raise InputError(f"{format} holds masks as {' or '.join(kinds)} only, not as {chosen.kind}")
    chosen = replace(chosen, masks=chosen.kind or kinds[0], boxes_only=False)
    collection = accepted(open_results(run)) if chosen.accepted else open_results(run)
    features = _features(collection, preset, device) if chosen.objects == "instances" else None
    whole = list_annotations(collection, chosen, features)
    with Target(find_place(out), format) as target:
        for name, content in ABOVE[format](whole.words, tuple(chosen.split)) if chosen.split and format in ABOVE else ():
            target.write(name, content)
        for name, part in split(collection, chosen.split).items() if chosen.split else {"": collection}.items():
            _write(format, part, chosen, f"{name}/" if name else "", target, features=features)
        target.finish()
        return target.files


def _write(
    format: str, run: Collection, settings: ExportSettings, folder: str, target: Target, *, features: Features | None
) -> None:
    """One split, or all, into its folder."""
    write, _, photos = FORMATS[format]
    found = replace(list_annotations(run, settings, features), folder=folder)
    for name, content in write(found, settings):
        target.write(f"{folder}{name}", content)
    kept = {line.name: line for line in run.done}
    for stem in found.photos if settings.copy_photos else ():
        line = kept[stem]
        target.write(os.path.join(folder, photos, f"{stem}{os.path.splitext(line.photo)[1]}"), _photo(line))


def _photo(line: Line) -> bytes:
    """The photo's file, if it is still the one that was segmented."""
    content, known = open_signed(line.photo, file_bytes)
    if known != line.signature:
        raise InputError(
            f"another photo than was segmented lies at {line.photo!r} now; start segwright segment again to do it anew"
        )
    return content


def _features(run: Collection, preset: str | os.PathLike[str] | None, device: str | None) -> Features:
    """What tells instances in a photo apart, by the networks of a preset."""
    from segwright.models.object_features import object_features
    from segwright.weights import load

    networks = load(preset if preset is not None else run.run.get("preset"), device)
    networks.require("diffusion")

    def of(photo: Done) -> Any:
        return object_features(networks.diffusion, open_photo(photo.photo))

    return of
