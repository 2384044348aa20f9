"""The papers' tables, run again: published beside measured, and what cannot be run with its reason.

The rows are data: ``published/PAPER.json``. A row has its name, what was published (percent, by data set), and a method
with settings, or why it is "missing". On the miniature world a row's "mini" part replaces parts of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from segwright.datasets import open_dataset
from segwright.datasets.dataset import Dataset
from segwright.errors import InputError, OutputError, SegwrightError, WeightsError
from segwright.evaluation.figures import photo_score
from segwright.evaluation.protocols import PAPERS, find_protocol
from segwright.evaluation.report import percent
from segwright.evaluation.run import evaluate
from segwright.evaluation.store import PHOTOS, parse_records
from segwright.files.disk import write_all
from segwright.files.record import encode_record
from segwright.methods import find_method
from segwright.methods.base import MethodSpec
from segwright.models import hub
from segwright.models.repositories import Part
from segwright.presets import default_preset
from segwright.refine.pipeline import parse_refiners

FILES = ("freeseg-diff", "ovdiff", "g4seg")


@dataclass(frozen=True)
class Line:
    """One figure of a table.

    Attributes:
        row: the row's name in the paper.
        data: the data set of the published figure; several where the miniature world stands for all of them.
        published: measure -> percent, or None where the paper prints no number; empty for a row of ours.
        measured: measure -> 0..1; empty where it is missing.
        interval: 95 %, of the first measure.
        missing: why it was not measured, or "".
        note: what differs from the paper.
    """

    row: str
    data: str
    published: Mapping[str, Any]
    measured: Mapping[str, float]
    interval: tuple[float, float] | None = None
    missing: str = ""
    note: str = ""


@dataclass(frozen=True)
class Options:
    """How rows are run; see ``table``."""

    root: Path | None
    data: str | None
    out: Path
    preset: str | None
    device: str | None
    dtype: str
    limit: int | None
    split: str | None
    workers: int
    batch: int
    bank: str | None
    settings: Sequence[str]
    networks: Mapping[str, str]
    progress: bool | None


def names() -> dict[str, str]:
    """Every table's name, as "freeseg-diff/2", -> its title."""
    return {f"{file}/{key}": t["title"] for file in FILES for key, t in _read(file)["tables"].items()}


@cache
def _read(file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        resources.files("segwright.evaluation").joinpath("published", f"{file}.json").read_text("utf8")
    )
    return content


def table(
    name: str,
    root: str | os.PathLike[str] | None = None,
    data: str | None = None,
    out: str | os.PathLike[str] = "segwright-tables",
    preset: str | None = None,
    *,
    device: str | None = None,
    dtype: str = "float32",
    limit: int | None = None,
    split: str | None = None,
    workers: int = 1,
    batch: int = 1,
    bank: str | None = None,
    progress: bool | None = False,
    settings: Sequence[str] = (),
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    diffusion: str | None = None,
) -> list[Line]:
    """Run a table of a paper again; what is done already is not done twice.

    Args:
        name: one of ``names()``.
        root: the folder that holds the benchmarks (VOCdevkit, coco, coco_stuff164k ...).
        data: "mini" runs every row on the miniature world; another name only the columns of that data set.
        out: holds a folder for every run, and NAME.md and NAME.json.
        preset: instead of the paper's; ``mini`` for the miniature world if None.
        bank: folder for OVDiff's prototypes; a sub-folder each for different ways to make them. Its cache if None.
        device: as for ``evaluate``.
        dtype: as for ``evaluate``.
        limit: as for ``evaluate``.
        split: as for ``evaluate``.
        workers: as for ``evaluate``.
        batch: as for ``evaluate``.
        progress: as for ``evaluate``.
        settings: "NAME=VALUE", in every row, instead of the table's.
        clip: another CLIP, as for ``segwright.load``.
        captioner: another captioner, likewise.
        vit: another ViT, likewise.
        diffusion: another diffusion model, likewise.

    Raises:
        InputError: there is no such table.
        OutputError: results cannot be written.
    """
    if name not in names():
        raise InputError(f"there is no table {name!r}; there are {', '.join(names())}")
    place = None if root is None else Path(root)
    single = {"clip": clip, "captioner": captioner, "vit": vit, "diffusion": diffusion}
    running = (limit, split, workers, batch, bank, tuple(settings), {k: v for k, v in single.items() if v is not None}, progress)
    options = Options(place, data, Path(out), preset, device, dtype, *running)
    _fetch(name, options)
    lines = list(_lines(name, options))
    about = {"table": name, "data": data, "lines": [vars(line) for line in lines]}
    stem = Path(out) / name.replace("/", "-")
    files = {
        stem.with_name(stem.name + ".json"): encode_record(about),
        stem.with_name(stem.name + ".md"): text(name, lines).encode(),
    }
    write_all(dict(files))
    return lines


def _fetch(name: str, options: Options) -> None:
    """Fetch all weights that rows with data will ask for, with one total. What cannot be had is said here, and in its rows."""
    opened: dict[tuple[str, str | None], Dataset] = {}
    parts: list[Part] = []
    for job, data, _ in _jobs(name, options):
        with suppress(SegwrightError):  # each row says for itself why it cannot be run
            if "missing" not in job:
                parts += _parts(method_of(job, _job_dataset(job, data, options, opened).name, options))
    try:
        if parts:
            hub.fetch(parts, hub.Fetching(options.dtype != "float32"))
    except WeightsError as error:
        hub.print_to_stderr(f"segwright: {error}")


def _parts(spec: MethodSpec) -> list[Part]:
    networks, kinds, generator = spec.needs(words=True)
    return networks.parts(kinds, generator)


def _jobs(name: str, options: Options) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """Each figure's row, data set, and published value."""
    file, key = name.split("/")
    paper, found = _read(file), _read(file)["tables"][key]
    common = {"preset": paper["preset"], "protocol": paper["protocol"]}
    for row in found["rows"]:
        if options.data == "mini":  # one run stands for all columns
            yield {**common, **row, **row.get("mini", {})}, "mini", row["published"]
            continue
        for column, value in row["published"].items():
            if options.data in (None, column):
                yield {**common, **row}, column, value


def _lines(name: str, options: Options) -> Iterator[Line]:
    opened: dict[tuple[str, str | None], Dataset] = {}
    for job, data, published in _jobs(name, options):
        yield _line(job, data, published, options, opened)


def _line(
    job: Mapping[str, Any], data: str, published: Any, options: Options, opened: dict[tuple[str, str | None], Dataset]
) -> Line:
    shown = published if isinstance(published, Mapping) else {"": published}
    note = job.get("note", "")
    try:
        if "missing" in job:
            return Line(job["row"], data, shown, {}, missing=job["missing"], note=note)
        dataset = _job_dataset(job, data, options, opened)
        measured, interval = _measured(job, dataset, options)
    except OutputError:
        raise
    except SegwrightError as error:
        return Line(job["row"], data, shown, {}, missing=str(error), note=note)
    return Line(job["row"], data, shown, measured, interval, note=note)


def _job_dataset(job: Mapping[str, Any], data: str, options: Options, opened: dict[tuple[str, str | None], Dataset]) -> Dataset:
    split = options.split or (None if data == "mini" else job.get("split"))
    if (data, split) not in opened:
        opened[data, split] = open_dataset(data, None if data == "mini" else options.root, split)
    return opened[data, split]


def _measured(job: Mapping[str, Any], dataset: Dataset, options: Options) -> tuple[dict[str, float], tuple[float, float] | None]:
    spec = method_of(job, dataset.name, options)
    for part in _parts(spec):
        hub.cached(part, options.dtype != "float32")  # raises where it could not be fetched
    done = _run(spec, job, dataset, options)
    if "range" in job:
        before = _run(replace(spec, then=()), job, dataset, options)
        return {"gain": _gain(before[1], done[1], job["range"])}, None
    report = done[0]
    measure = report["measure"]
    kept = [measure, *(m for m in ("miou", "miou_per_image", "pixel_accuracy") if m != measure)]
    low, high = report["intervals"][measure]
    return {m: report[m] for m in kept}, (low, high)


def method_of(job: Mapping[str, Any], data: str, options: Options) -> MethodSpec:
    """A row's method, as data, made into a ``MethodSpec``.

    Raises:
        InputError: this version has no such method, setting or refiner.
        WeightsError: there is no such preset.
    """
    name = job["method"]
    preset = options.preset or ("mini" if data == "mini" else job["preset"] or default_preset())
    extras: dict[str, Any] = {}
    if "support" in find_method(name).options:
        extras["support"] = job.get("support", {})
        if options.bank is not None:
            key = json.dumps(job.get("support", {}), sort_keys=True)
            extras["bank"] = str(Path(options.bank) / f"{preset}-{hashlib.sha256(key.encode()).hexdigest()[:10]}")
    then = tuple(refiner for one in job.get("then", ()) for refiner in parse_refiners(dict([one])))
    spec = MethodSpec(name, preset, options.device, options.dtype, job.get("settings", {}), {**extras, **options.networks}, then)
    return spec.with_texts(options.settings)


def _run(spec: MethodSpec, job: Mapping[str, Any], dataset: Dataset, options: Options) -> tuple[dict[str, Any], list[float]]:
    """The report of one run, and its photos' own mIoU in the data set's order."""
    rules = job["protocol"] if job["protocol"] != "paper" or spec.kind.protocol in PAPERS else "segwright"
    find_protocol(rules, spec.kind)
    present, extra = bool(job.get("present_only")), tuple(job.get("extra_words", ()))
    about = [spec.identity(words=True), dataset.name, dataset.split, rules, options.limit, present, extra]
    key = hashlib.sha256(encode_record({"about": about})).hexdigest()[:12]
    folder = options.out / "runs" / f"{spec.name}-{dataset.name}-{key}"
    report = evaluate(
        spec,
        dataset,
        folder,
        rules,
        options.limit,
        workers=options.workers,
        batch=options.batch,
        extra_words=extra,
        present_only=present,
        progress=options.progress,
    )
    return report.content, _scores(folder, dataset.first(options.limit))


def _scores(folder: Path, dataset: Dataset) -> list[float]:
    file = folder / PHOTOS
    cells = {record.id: record.cells for record in parse_records(file.read_bytes(), file)}
    return [photo_score(cells[item.id], len(dataset.words) + 1) for item in dataset.items]


def _gain(before: Sequence[float], after: Sequence[float], between: Sequence[float]) -> float:
    """Mean gain of the photos whose score before lies in the range.

    Raises:
        InputError: there is none.
    """
    first, gain = np.array(before), np.array(after) - np.array(before)
    inside = (first >= between[0]) & ((first < between[1]) | (between[1] >= 1) & (first <= 1))
    if not inside.any():
        raise InputError(f"no photo's coarse mask has an IoU in {between[0]:.0%} .. {between[1]:.0%}")
    return float(gain[inside].mean())


def text(name: str, lines: Sequence[Line]) -> str:
    """The table as Markdown: published beside measured, then what is missing with its reason."""
    file, key = name.split("/")
    paper, found = _read(file), _read(file)["tables"][key]
    rows = [f"# {paper['paper']}, {key}: {found['title']}", "", paper["note"], *([found["note"]] if "note" in found else []), ""]
    rows += ["| row | data | published | measured | 95 % | all measures | note |", "|" + " --- |" * 7]
    rows += [_shown(line) for line in lines]
    absent = [line for line in lines if line.missing]
    if absent:
        rows += ["", f"Missing, {len(absent)} of {len(lines)}:", ""]
        rows += [f"- {line.row} ({line.data}): {line.missing}" for line in absent]
    return "\n".join(rows) + "\n"


def _shown(line: Line) -> str:
    published = ", ".join(_published(key, value) for key, value in line.published.items()) or "-"
    cells = [line.row, line.data, published]
    if line.missing:
        return "| " + " | ".join([*cells, "missing", "", "", line.note]) + " |"
    first, *others = line.measured.items()
    between = "" if line.interval is None else f"{percent(line.interval[0])} .. {percent(line.interval[1])}"
    rest = ", ".join(f"{key} {percent(value)}" for key, value in (first, *others))
    return "| " + " | ".join([*cells, percent(first[1]), between, rest, line.note]) + " |"


def _published(key: str, value: Any) -> str:
    """ "53.27", "53.27 (voc)", "49.52 miou_per_image, 72.19 pixel_accuracy (voc)"."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{number} {measure}" for measure, number in value.items())
        return f"{inner} ({key})" if key else inner
    number = "no number" if value is None else f"{value:.2f}"
    return f"{number} ({key})" if key and key not in ("miou_per_image", "pixel_accuracy", "gain") else f"{number} {key}".strip()
