"""The diagnostics over a data set: a record a photo, kept as they come, then tables, plots and paired tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segwright.datasets.dataset import Dataset
from segwright.diagnosis import attention, conditioning, features, gradcam
from segwright.diagnosis.report import Series, line_plot, markdown, table
from segwright.diagnosis.statistics import Paired, paired
from segwright.diagnosis.subject import PARTS, DiagnoseSettings, Subject, prompt_with
from segwright.errors import InputError
from segwright.files.journal import Journal, decode_lines
from segwright.files.places import Local
from segwright.files.plot import draw_lines
from segwright.files.record import encode_record, plain, versions
from segwright.images import read
from segwright.weights import Networks

MEASURES = {"auc": "AUC of the word's place", "iou": "IoU above the threshold", "entropy": "entropy (blur)"}
BATCH = 8  # photos through the networks at once
RUN, RECORDS = "run.json", "records.jsonl"
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """A title, a head and rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Findings:
    """What comes of all records.

    Attributes:
        tables: in order.
        plots: title -> axis labels and lines.
        tests: name -> paired test.
    """

    tables: tuple[Table, ...]
    plots: tuple[tuple[str, str, str, Series], ...]
    tests: Mapping[str, Paired]


def collect(
    networks: Networks, dataset: Dataset, only: Sequence[str], settings: DiagnoseSettings, limit: int | None, *, folder: Path
) -> Records:
    """One record a photo that has a word: its name and what each part measured. Resumes what ``folder`` holds.

    Raises:
        InputError: no photo has a word, or the folder is of another run.
    """
    journal = Journal(Local(folder, "diagnosis"), identity(networks, dataset, settings), RUN, RECORDS)
    try:
        records = _earlier(journal.open(), folder)
        items = [i for i in dataset.items[:limit] if i.id not in {r["name"] for r in records if set(only) <= set(r)}]
        for start in tqdm(range(0, len(items), BATCH), unit="batch", disable=None):
            found = _batch(networks, dataset, items[start : start + BATCH], only, settings)
            journal.add(*found)
            records = _merged(records, json.loads(json.dumps(found)))
    finally:
        journal.close()
    wanted = {i.id for i in dataset.items[:limit]}
    kept = [r for r in records if r["name"] in wanted and r["words"]]
    if not kept:
        raise InputError(f"no photo of {dataset.name} ({dataset.split}) has a word in its truth")
    return kept


def identity(networks: Networks, dataset: Dataset, settings: DiagnoseSettings) -> dict[str, Any]:
    """All on which a record depends beside its photo."""
    return {
        "data": dataset.name,
        "split": dataset.split,
        "words": dataset.words,
        "preset": networks.preset.name,
        "networks": {kind: networks.identity(kind) for kind in ("diffusion", "clip", "captioner")},
        "defaults": plain(networks.preset.settings()),
        "device": networks.device.type,
        "dtype": str(networks.dtype).removeprefix("torch."),
        "settings": asdict(settings),
        "versions": versions(),
    }


def _earlier(content: bytes, folder: Path) -> Records:
    """What each photo has so far; later lines add parts to earlier ones."""
    try:
        return _merged([], list(decode_lines(content, json.loads, str(folder / RECORDS))))
    except (KeyError, TypeError) as error:
        raise InputError(f"{str(folder / RECORDS)!r} is damaged; remove it, or choose another folder") from error


def _merged(records: Records, found: Records) -> Records:
    """Records by name; what a photo has of other parts already stays."""
    by_name = {r["name"]: r for r in records}
    for record in found:
        by_name[record["name"]] = by_name.get(record["name"], {}) | record
    return list(by_name.values())


def _batch(networks: Networks, dataset: Dataset, items: Sequence[Any], only: Sequence[str], settings: DiagnoseSettings) -> Records:
    pairs = [(item, read(item.photo), item.truth()) for item in items]
    captions = networks.captioner.caption([image for _, image, _ in pairs])
    subjects = []
    for (item, image, truth), caption in zip(pairs, captions, strict=True):
        labels = [int(i) for i in np.unique(truth) if 0 < i <= len(dataset.words)]
        words = tuple(dataset.words[i - 1] for i in labels)
        masks = {dataset.words[i - 1]: np.asarray(truth == i) for i in labels}
        subjects.append(Subject(item.id, image, words, prompt_with(networks, caption, words), caption, truth, masks))
    records: Records = [{"name": s.name, "words": list(s.words), **dict.fromkeys(only)} for s in subjects]
    full = [i for i, s in enumerate(subjects) if s.words]
    shown, places = [subjects[i] for i in full], {item.id: i for i, item in enumerate(dataset.items)}
    truths = [subjects[i].truth for i in full]
    parts: dict[str, Callable[[], Sequence[Any]]] = {
        "gradcam": lambda: [gradcam.measure(networks, s, settings) for s in shown],
        "attention": lambda: attention.measure(networks, shown, settings, [settings.seed + places[s.name] for s in shown]),
        "features": lambda: features.measure(networks, shown, settings),
        "conditioning": lambda: conditioning.measure(
            networks, shown, dataset.words, [t for t in truths if t is not None], settings
        ),
    }
    for part in only:
        for i, value in zip(full, parts[part]() if full else [], strict=True):
            records[i][part] = value
    return records


def findings(records: Records, only: Sequence[str], settings: DiagnoseSettings, classes: int) -> Findings:
    """Tables, plots and tests of the parts asked for. ``classes``: background counted."""
    tables: list[Table] = []
    plots: list[tuple[str, str, str, Series]] = []
    tests: dict[str, Paired] = {}
    makers: dict[str, Callable[[], Findings]] = {
        "gradcam": lambda: _gradcam([r["gradcam"] for r in records], settings),
        "attention": lambda: _attention([r["attention"] for r in records], settings),
        "features": lambda: _features([r["features"] for r in records], settings),
        "conditioning": lambda: _conditioning([r["conditioning"] for r in records], classes),
    }
    for part in (p for p in PARTS if p in only):
        made = makers[part]()
        tables += made.tables
        plots += made.plots
        tests |= made.tests
    return Findings(tuple(tables), tuple(plots), tests)


def _gradcam(records: Records, settings: DiagnoseSettings) -> Findings:
    rows = [(p, *(gradcam.miou(records, f"{p} > {t}") for t in gradcam.THRESHOLDS)) for p in settings.prompts]
    plain = [(name, *[gradcam.miou(records, row)] * len(gradcam.THRESHOLDS)) for name, row in
             (("picture's centre", "centre"), ("everything", "everything"))]  # fmt: skip
    head = ("prompt", *(f"> {t}" for t in gradcam.THRESHOLDS))
    lines = {str(r[0]): list(zip(gradcam.THRESHOLDS, map(float, r[1:]), strict=True)) for r in [*rows, *plain]}  # type: ignore[arg-type]
    best = f"{settings.prompts[0]} > {settings.threshold}"
    tests = {}
    if best in records[0]:
        each = [[h / max(1, j) for r in records for h, j in r[row].values()] for row in ("centre", best)]
        tests["Grad-CAM against the picture's centre, IoU of a word"] = paired(each[0], each[1])
    title = "Grad-CAM above a threshold: mIoU over words"
    return Findings((Table(title, head, (*rows, *plain)),), ((title, "threshold", "mIoU", lines),), tests)


def _attention(photos: list[Records], settings: DiagnoseSettings) -> Findings:
    """Comparisons over all words; what finds the word, and the tests, over photos (means over a photo's words)."""
    times, first = settings.timesteps, settings.timesteps[0]
    every, good = [r for photo in photos for r in photo], [kept for photo in photos if (kept := attention.usable(photo))]
    against = {"same": "(a) at the same timestep", "last": "(a) at its last step"}
    tables = [
        _degradation(every, key, f"Attention: (b) against {title}, correlation / IoU", times) for key, title in against.items()
    ]
    head = ("latents", "measure", *(f"t = {t}" for t in times))
    quality = [
        (f"({case}) {title}", what, *(_finite_mean(_by_photo(good, case, t, what)) for t in times))
        for case, title in attention.CASES.items()
        for what in MEASURES
    ]
    own = _finite_mean([r["stand_in_iou"] for r in every if "stand_in_iou" in r])
    where = f"{len(good)} of {len(photos)} pictures; IoU of the stand-in with the photos' truth {own:.3f}"
    tables.append(Table(f"Attention: finding the word, and blur ({where})", head, tuple(quality)))
    plots: list[tuple[str, str, str, Series]] = []
    for what, label in MEASURES.items():
        lines: Series = {f"({c}) {title}": [(t, _finite_mean(_by_photo(good, c, t, what))) for t in times]
                         for c, title in attention.CASES.items()}  # fmt: skip
        plots.append((f"Attention: {label}", "timestep", label, lines))
    tests = {
        f"attention {what}, ({other}) against ({one}) at t = {t}": paired(
            _by_photo(good, one, t, what), _by_photo(good, other, t, what)
        )
        for one, other in (("a", "b"), ("c", "d"))
        for t in times
        for what in MEASURES
    }
    for t in times[1:]:
        for what in MEASURES:
            pair = paired(_by_photo(good, "a", first, what), _by_photo(good, "b", t, what))
            tests[f"attention {what}, (b) at t = {t} against (a) at its last step"] = pair
    return Findings(tuple(tables), tuple(plots), tests)


def _degradation(every: Records, key: str, title: str, times: Sequence[int]) -> Table:
    """A row a layer."""
    rows = []
    for layer in every[0][key][str(times[0])]:
        pairs = [[np.mean([r[key][str(t)][layer][what] for r in every]) for what in ("correlation", "iou")] for t in times]
        rows.append((attention.short(layer), *(f"{r:.3f} / {i:.3f}" for r, i in pairs)))
    return Table(title, ("layer", *(f"t = {t}" for t in times)), tuple(rows))


def _by_photo(photos: Sequence[Records], case: str, t: int, what: str) -> list[float]:
    return [_finite_mean([r[f"{case}@{t}"][what] for r in photo]) for photo in photos]


def _finite_mean(values: Sequence[float]) -> float:
    """Without NaN; NaN if nothing is left."""
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else float("nan")


def _features(records: Records, settings: DiagnoseSettings) -> Findings:
    times, k = settings.timesteps, settings.clusters[0]
    rows, tests, plots = [], {}, []
    for source, title in features.SOURCES.items():
        for what in ("match", "silhouette"):
            rows.append((title, what, *(features.mean(records, f"{source}@{t}@{k}", what) for t in times)))
    for what, label in (("match", "best-match mIoU"), ("silhouette", "silhouette")):
        lines = {
            title: [(float(t), features.mean(records, f"{s}@{t}@{k}", what)) for t in times]
            for s, title in features.SOURCES.items()
        }
        plots.append((f"Features: {label}, K = {k}", "timestep", label, lines))
    for t in times:
        for other in ("inversion", "clean"):
            values = [[r[f"{s}@{t}@{k}"]["match"] for r in records] for s in ("noise", other)]
            tests[f"features match, {features.SOURCES[other]} against noised once at t = {t}"] = paired(values[0], values[1])
    at = features.sweep_at(settings)
    sweep = [
        (title, *(features.mean(records, f"{s}@{at}@{c}", "match") for c in sorted(settings.clusters)))
        for s, title in features.SOURCES.items()
    ]
    tables = (
        Table(f"Features: k-means, K = {k}", ("latents", "measure", *(f"t = {t}" for t in times)), tuple(rows)),
        Table(
            f"Features: best-match mIoU at t = {at}", ("latents", *(f"K = {c}" for c in sorted(settings.clusters))), tuple(sweep)
        ),
    )
    return Findings(tables, tuple(plots), tests)


def _conditioning(records: Records, classes: int) -> Findings:
    rows, tests = [], {}
    base = conditioning.VARIANTS[0].name
    for variant in conditioning.VARIANTS:
        name = variant.name
        named = conditioning.dataset_miou(records, name, classes)
        rows.append((name, features.mean(records, name, "match"), features.mean(records, name, "silhouette"), named))
        if name != base:
            values = [[r[n]["match"] for r in records] for n in (base, name)]
            tests[f"conditioning match, {name} against {base}"] = paired(values[0], values[1])
    head = ("variant", "best-match mIoU", "silhouette", "mIoU of FreeSeg-Diff, no refinement")
    return Findings((Table("Conditioning and features", head, tuple(rows)),), (), tests)


TEST_HEAD = ("paired test", "pairs", "first", "second", "difference", "95 %", "Wilcoxon p", "lower in")


def tests_as_rows(tests: Mapping[str, Paired]) -> list[tuple[object, ...]]:
    """A row a test."""
    return [
        (n, p.count, p.first, p.second, f"{p.difference:+.4f}", f"{p.low:+.4f} .. {p.high:+.4f}", f"{p.p:.2g}", f"{p.lower:.0%}")
        for n, p in tests.items()
    ]


def files(made: Findings, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """figures.json, figures.md, and each plot as SVG and PNG."""
    content = {**facts, "tables": [asdict(t) for t in made.tables], "tests": {n: asdict(p) for n, p in made.tests.items()}}
    text = "".join(f"## {t.title}\n\n{markdown(t.head, t.rows)}\n" for t in made.tables)
    text += f"## Paired tests\n\n{markdown(TEST_HEAD, tests_as_rows(made.tests))}"
    lines = [(re.sub(r"\W+", "-", title.lower()), draw_lines(series, title, x, y)) for title, x, y, series in made.plots]
    drawn = {f"plot-{name}.{kind}": content for name, both in lines for kind, content in both.items()}
    return {"figures.json": encode_record(content), "figures.md": text.encode(), **drawn}


def body(made: Findings) -> str:
    """The same as HTML."""
    tables = "".join(f"<h2>{escape(t.title)}</h2>{table(t.head, t.rows)}" for t in made.tables)
    plots = "".join(line_plot(*plot) for plot in made.plots)
    return f"{plots}{tables}<h2>Paired tests</h2>{table(TEST_HEAD, tests_as_rows(made.tests))}"
