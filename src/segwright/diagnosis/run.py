"""``segwright.diagnose``: the report of one photo, or the averages over a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from segwright.datasets import open_dataset
from segwright.diagnosis import attention, averages, conditioning, features, gradcam
from segwright.diagnosis.report import Section, page, picture_files
from segwright.diagnosis.subject import PARTS, DiagnoseSettings, Subject, Truth, check_prompt, prompt_with
from segwright.errors import InputError
from segwright.files.disk import atomic_write, write_all
from segwright.files.html import document
from segwright.files.masks import read_label_map
from segwright.images import read
from segwright.settings import build
from segwright.types import Image
from segwright.weights import Networks, load
from segwright.words.vocabulary import check_words

SECTIONS: dict[str, Callable[[Networks, Subject, DiagnoseSettings], Section]] = {
    "gradcam": gradcam.section, "attention": attention.section, "features": features.section, "conditioning": conditioning.section,
}  # fmt: skip
Name = str | os.PathLike[str]


def diagnose(
    photo: Name | None = None,
    words: Sequence[str] | None = None,
    out: Name = "segwright-diagnosis",
    *,
    prompt: str | None = None,
    truth: Name | None = None,
    data: str | None = None,
    root: Name | None = None,
    split: str | None = None,
    limit: int | None = None,
    only: Sequence[str] | None = None,
    preset: Name | None = None,
    device: str | None = None,
    dtype: str = "float32",
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    diffusion: str | None = None,
    settings: DiagnoseSettings | Mapping[str, Any] | None = None,
) -> Path:
    """Diagnose a photo, or with ``data`` a data set.

    Args:
        photo: writes OUT/PHOTO.html, which holds all its pictures, and the pictures as OUT/PHOTO/*.png.
        words: what to look for in the photo.
        prompt: holds every word; None: the photo's caption if it does, else "a photo of a WORD and a WORD".
        truth: a label map of the photo, label i + 1 for words[i], 0 background, 255 left out.
        data: writes OUT/report.html, OUT/figures.json, OUT/figures.md and plots; an interrupted run resumes from OUT/run.json
            and OUT/records.jsonl.
        root: of the data set, as ``segwright.open_dataset``.
        split: of the data set, likewise.
        limit: only the first so many photos; None: all.
        preset: as for ``segwright.load``.
        device: likewise.
        dtype: likewise.
        clip: another CLIP, as for ``segwright.load``.
        captioner: another captioner, likewise.
        vit: another ViT, likewise.
        diffusion: another diffusion model, likewise.
        settings: those that differ from the defaults may be given as a dictionary.
        only: some of "gradcam", "attention", "features", "conditioning".

    Returns:
        the page.

    Raises:
        InputError: neither or both of photo and data, unusable words, prompt, truth or settings.
        WeightsError: networks that cannot be loaded.
        OutputError: files that cannot be written.
    """
    if (photo is None) == (data is None):
        raise InputError("give a photo or a data set, one of the two")
    parts = _parts(only)
    networks = load(preset, device, dtype, clip=clip, captioner=captioner, vit=vit, diffusion=diffusion)
    own = settings if isinstance(settings, DiagnoseSettings) else build(DiagnoseSettings, settings or {}, "diagnose")
    if data is not None:
        if words is not None or prompt is not None or truth is not None:
            raise InputError("a data set has its own words and truth; leave words, prompt and truth out")
        return _over(networks, data, root, split, limit, parts=parts, out=Path(out), settings=own)
    if photo is None or words is None:
        raise InputError("a photo needs words to look for")
    return _one(networks, Path(photo), check_words(words), prompt, truth, parts=parts, out=Path(out), settings=own)


def _parts(only: Sequence[str] | None) -> tuple[str, ...]:
    wanted = PARTS if only is None else tuple(only)
    if not wanted or not set(wanted) <= set(PARTS):
        raise InputError(f"only must be some of {', '.join(PARTS)}, got {', '.join(map(repr, wanted)) or 'nothing'}")
    return tuple(p for p in PARTS if p in wanted)


def _one(
    networks: Networks, photo: Path, words: tuple[str, ...], prompt: str | None, truth: Name | None, *, parts: tuple[str, ...],
    out: Path, settings: DiagnoseSettings,
) -> Path:  # fmt: skip
    subject = _subject(networks, photo, words, prompt, truth)
    sections = [SECTIONS[part](networks, subject, settings) for part in parts]
    intro = (
        f"<p>Preset <code>{escape(networks.preset.name)}</code>, words {escape(', '.join(words))}, "
        f"caption <q>{escape(subject.caption)}</q>, seed {settings.seed}.</p>"
    )
    html = page(f"{photo.name}: a critical look", intro, sections).encode()
    file = out / f"{photo.stem}.html"
    write_all({**picture_files(out / photo.stem, sections), file: html})
    return file


def _subject(networks: Networks, photo: Path, words: tuple[str, ...], prompt: str | None, truth: Name | None) -> Subject:
    image = read(photo)
    caption = networks.captioner.caption([image])[0]
    text = check_prompt(networks, prompt_with(networks, caption, words) if prompt is None else prompt, words)
    labels = None if truth is None else _truth(truth, image, len(words))
    masks = {} if labels is None else {w: np.asarray(labels == i + 1) for i, w in enumerate(words)}
    return Subject(photo.stem, image, words, text, caption, labels, masks)


def _truth(file: Name, image: Image, count: int) -> Truth:
    labels = read_label_map(file)
    if labels.shape != image.shape[:2]:
        raise InputError(f"the truth {os.fspath(file)!r} is {labels.shape} pixels but the photo is {image.shape[:2]}")
    if int(np.where(labels == 255, 0, labels).max()) > count:
        raise InputError(f"the truth {os.fspath(file)!r} has labels above {count}, the number of words")
    return labels


def _over(
    networks: Networks, data: str, root: Name | None, split: str | None, limit: int | None, *, parts: tuple[str, ...],
    out: Path, settings: DiagnoseSettings,
) -> Path:  # fmt: skip
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    dataset = open_dataset(data, root, split)
    records = averages.collect(networks, dataset, parts, settings, limit, folder=out)
    made = averages.findings(records, parts, settings, len(dataset.words) + 1)
    facts = {"data": dataset.name, "split": dataset.split, "photos": len(records), "preset": networks.preset.name}
    title = f"{dataset.name} ({dataset.split}): a critical look, {len(records)} photos, preset {networks.preset.name}"
    for name, content in averages.files(made, facts | {"settings": settings}).items():
        atomic_write(out / name, content)
    return atomic_write(out / "report.html", document(title, title, averages.body(made)).encode())
