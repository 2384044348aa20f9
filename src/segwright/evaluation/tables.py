"""The papers' tables, run again (rows: ``table_rows``): what can be run is measured, what cannot says why."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segwright.datasets import open_dataset
from segwright.datasets.dataset import Dataset
from segwright.errors import InputError, OutputError, SegwrightError, WeightsError
from segwright.evaluation.figures import photo_score
from segwright.evaluation.protocols import PAPERS, find_protocol
from segwright.evaluation.run import evaluate
from segwright.evaluation.store import PHOTOS, parse_records
from segwright.evaluation.table_report import plot, text
from segwright.evaluation.table_rows import Line, common_of, names, read_paper
from segwright.files.disk import write_all
from segwright.files.record import encode_record
from segwright.methods import find_method
from segwright.methods.base import MethodSpec, refining
from segwright.models import hub
from segwright.models.repositories import Part
from segwright.refine.pipeline import parse_refiners
from segwright.settings import merged
from segwright.weights import load_controlnet

NO_CONTROLNET = "needs a ControlNet that was trained on segmentation masks; give its folder with --controlnet"
PROFILE = "published"  # how rows are run where nothing else is said


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
    profile: str = PROFILE
    controlnet: str | None = None


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
    profile: str | None = None,
    controlnet: str | os.PathLike[str] | None = None,
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
        profile: "paper" or "published": networks and settings of every row where the table does not say them; "published"
            if None.
        controlnet: folder of a ControlNet that was trained on segmentation masks, for the rows that have one (G4Seg's Tables VII
            and VIII).

    Raises:
        InputError: there is no such table, or a setting that none of its rows takes.
        OutputError: results cannot be written.
    """
    if name not in names():
        raise InputError(f"there is no table {name!r}; there are {', '.join(names())}")
    place = None if root is None else Path(root)
    single = {"clip": clip, "captioner": captioner, "vit": vit, "diffusion": diffusion}
    running = (limit, split, workers, batch, bank, tuple(settings), {k: v for k, v in single.items() if v is not None}, progress)
    injecting = None if controlnet is None else os.fspath(controlnet)
    options = Options(place, data, Path(out), preset, device, dtype, *running, profile=profile or PROFILE, controlnet=injecting)
    _check_settings(name, options)
    _fetch(name, options)
    lines = list(_lines(name, options))
    chosen = {"settings": list(settings), "networks": options.networks, "profile": options.profile}
    about = {"table": name, "data": data, **chosen, "lines": [vars(line) for line in lines]}
    stem = Path(out) / name.replace("/", "-")
    files = {
        stem.with_name(stem.name + ".json"): encode_record(about),
        stem.with_name(stem.name + ".md"): text(name, lines, settings).encode(),
    }
    files |= {stem.with_name(f"{stem.name}.{kind}"): drawn for kind, drawn in plot(name, lines).items()}
    write_all(dict(files))
    for kind in {"svg", "png"} - {file.suffix[1:] for file in files}:  # an earlier table's picture would seem to be this one's
        with suppress(OSError):
            stem.with_name(f"{stem.name}.{kind}").unlink(missing_ok=True)
    return lines


def _check_settings(name: str, options: Options) -> None:
    """Refuse settings that no row takes, before any row is run; a row whose method does not know one is missing with that reason.

    Raises:
        InputError: there are rows with a method, and none of them takes the settings.
    """
    refused: InputError | None = None
    for job, data, _ in _jobs(name, options):
        if "method" not in job or "missing" in job:
            continue
        try:
            spec = method_of(job, data, replace(options, settings=(), controlnet=None))
        except SegwrightError:  # whatever is set, this row says for itself why it cannot be run
            continue
        try:
            spec.with_texts(options.settings)
        except InputError as error:
            refused = refused or error
        else:
            return
    if refused is not None:
        raise refused


def _fetch(name: str, options: Options) -> None:
    """Fetch all weights that rows with data will ask for, with one total. What cannot be had is said here, and in its rows."""
    opened: dict[tuple[str, str | None], Dataset] = {}
    parts: list[Part] = []
    for job, data, _ in _jobs(name, options):
        with suppress(SegwrightError):  # each row says for itself why it cannot be run
            if not _missing(job, options):
                parts += _parts(method_of(job, _job_dataset(job, data, options, opened).name, options))
    try:
        if parts:
            hub.fetch(parts, hub.Fetching(options.dtype != "float32"))
    except WeightsError as error:
        hub.print_to_stderr(f"segwright: {error}")


def _parts(spec: MethodSpec) -> list[Part]:
    """Exactly the repositories that a row opens, its refiners' own among them."""
    first = spec if spec.then_on is None else replace(spec, then=())
    networks, kinds, generator = first.needs(words=True)
    found = networks.parts(kinds, generator)
    if spec.then_on is not None:
        behind = refining(spec.then_on, "cpu", spec.dtype)
        found += behind.parts(tuple(kind for refiner in spec.then for kind in refiner.kinds))
    return found


def _jobs(name: str, options: Options) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """Each figure's row, data set, and published value."""
    file, key = name.split("/")
    paper, found = read_paper(file), read_paper(file)["tables"][key]
    common = common_of(paper)
    for row in found["rows"]:
        if options.data == "mini":  # one run stands for all columns
            job = {**common, **row, **row.get("mini", {})}
            yield {**job, "settings": merged(paper.get("mini", {}), job.get("settings", {}))}, "mini", row["published"]
            continue
        for column, value in row["published"].items():
            if options.data in (None, column):
                yield {**common, **row}, column, value


def _lines(name: str, options: Options) -> Iterator[Line]:
    opened: dict[tuple[str, str | None], Dataset] = {}
    for job, data, published in _jobs(name, options):
        yield _line(job, data, published, options, opened)


def _missing(job: Mapping[str, Any], options: Options) -> str:
    """Why a row cannot be run whatever the data, or ""."""
    lacking = bool(job.get("controlnet")) and options.controlnet is None
    return str(job.get("missing", NO_CONTROLNET if lacking else ""))


def _line(
    job: Mapping[str, Any], data: str, published: Any, options: Options, opened: dict[tuple[str, str | None], Dataset]
) -> Line:
    shown = published if isinstance(published, Mapping) else {"": published}
    note = job.get("note", "")
    try:
        if reason := _missing(job, options):
            return Line(job["row"], data, shown, {}, missing=reason, note=note)
        dataset = _job_dataset(job, data, options, opened)
        measured, interval, run = _measured(job, dataset, options)
    except OutputError:
        raise
    except SegwrightError as error:
        return Line(job["row"], data, shown, {}, missing=str(error), note=note)
    about = {"preset": run.get("preset") or "", "split": run["split"], "photos": run["photos"]}
    return Line(job["row"], data, shown, measured, interval, note=note, **about)


def _job_dataset(job: Mapping[str, Any], data: str, options: Options, opened: dict[tuple[str, str | None], Dataset]) -> Dataset:
    split = options.split or (None if data == "mini" else job.get("split"))
    if (data, split) not in opened:
        opened[data, split] = open_dataset(data, None if data == "mini" else options.root, split)
    return opened[data, split]


def _measured(
    job: Mapping[str, Any], dataset: Dataset, options: Options
) -> tuple[dict[str, float], tuple[float, float] | None, Mapping[str, Any]]:
    """The figures, the first one's interval, and the report's "run"."""
    spec = method_of(job, dataset.name, options)
    for part in _parts(spec.for_data(dataset.name)):
        hub.cached(part, options.dtype != "float32")  # raises where it could not be fetched
    done = _run(spec, job, dataset, options)
    if "range" in job:
        before = _run(replace(spec, then=()), job, dataset, options)
        return {"gain": _gain(before[1], done[1], job["range"])}, None, done[0]["run"]
    report = done[0]
    measure = report["measure"]
    kept = [measure, *(m for m in ("miou", "miou_per_image", "pixel_accuracy") if m != measure)]
    if "seeds" in job and dataset.name != "mini":
        again = [_run(_seeded(spec, seed), job, dataset, options)[0] for seed in range(1, job["seeds"])]
        return _over_seeds(kept, [report, *again]), None, report["run"]
    low, high = report["intervals"][measure]
    return {m: report[m] for m in kept}, (low, high), report["run"]


def _seeded(spec: MethodSpec, more: int) -> MethodSpec:
    """With the support sets of the seed that lies ``more`` beyond the row's (OVDiff Table 1: five seeds)."""
    support = spec.filled().extras["support"]
    return replace(spec, extras=merged(spec.extras, {"support": {**support, "seed": support.get("seed", 42) + more}}))


def _over_seeds(kept: Sequence[str], reports: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each measure, and the spread (n - 1) of the first."""
    values = {m: [float(report[m]) for report in reports] for m in kept}
    return {m: float(np.mean(v)) for m, v in values.items()} | {"spread": float(np.std(values[kept[0]], ddof=1))}


def method_of(job: Mapping[str, Any], data: str, options: Options) -> MethodSpec:
    """A row's method, as data, made into a ``MethodSpec``.

    Raises:
        InputError: this version has no such method, setting or refiner.
        WeightsError: there is no such preset.
    """
    name = job["method"]
    profile = options.profile if options.profile in find_method(name).profiles else None
    preset = options.preset or ("mini" if data == "mini" else None if profile else job["preset"])
    extras: dict[str, Any] = {**job.get("networks", {}), **options.networks}
    if "support" in find_method(name).options:
        extras["support"] = job.get("support", {})
        if options.bank is not None:
            key = json.dumps(job.get("support", {}), sort_keys=True)
            extras["bank"] = str(Path(options.bank) / f"{preset or PROFILE}-{hashlib.sha256(key.encode()).hexdigest()[:10]}")
    everywhere = job.get("refiners", {})
    rows = ((one, {**everywhere.get(one, {}), **changes}) for one, changes in job.get("then", ()))
    then = tuple(refiner for row in rows for refiner in parse_refiners(dict([row])))
    if job.get("controlnet") and options.controlnet is not None:
        found = load_controlnet(options.controlnet, options.device, options.dtype)
        then = tuple(replace(refiner, controlnet=found) for refiner in then)  # type: ignore[type-var]
    others = None if preset is not None or not then else {"preset": job["preset"], **job.get("refined_on", {})}
    spec = MethodSpec(
        name, preset, options.device, options.dtype, _settings(job, options.profile), extras, then,
        profile=profile, data=data, then_on=others,
    )  # fmt: skip
    return spec.with_texts(options.settings)


def _settings(job: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """A row's settings; a kind of features that the table only names ("A+F") as the profile has it."""
    settings = dict(job.get("settings", {}))
    kind = settings.get("features", {}).get("kind")
    known = job.get("by_profile", {}).get(profile, {})
    return merged(settings, {"features": {**settings["features"], "kind": known[kind]}}) if kind in known else settings


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
