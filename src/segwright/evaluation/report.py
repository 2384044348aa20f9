"""A run's report: the figures as JSON, and the same for people as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segwright.evaluation.figures import LEVEL, RESAMPLES, ROUGH, count, interval, resampled, summary, total
from segwright.evaluation.measuring import Record, Task
from segwright.files.plot import Bar, draw_bars
from segwright.files.record import plain
from segwright.metrics import iou

TIMING = "timing"
MEASURES = {
    "miou": "mIoU (one confusion matrix over the split)",
    "miou_without_background": "the same, mean over the words only",
    "miou_per_image": "mean over photos of the mean IoU of the classes in the photo's truth",
    "pixel_accuracy": "pixel accuracy",
}


def make_report(identity: Mapping[str, Any], records: Sequence[Record], task: Task, seed: int = 0) -> dict[str, Any]:
    """The content of ``report.json``; all but its ``timing`` follows from settings and photos, whatever was interrupted.

    Args:
        records: one a photo, in the data set's order.
        seed: of the bootstrap.
    """
    dataset, cells = task.dataset, [record.cells for record in records]
    classes = len(dataset.words) + 1
    counted = count(cells, classes, dataset.background)
    figures = summary(cells, counted, classes)
    drawn = resampled(counted, RESAMPLES, seed)
    each = iou(total(cells, classes))
    names = (["background"] if dataset.background else []) + list(dataset.words)
    values = each if dataset.background else each[1:]
    measure = task.protocol.measure
    report = {
        "measure": measure,
        "value": figures[measure],
        **figures,
        "intervals": {name: interval(drawn[name], len(records), figures[name]) for name in figures},
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": seed},
        "iou": dict(zip(names, values.tolist(), strict=True)),
        "photos": len(records),
        "shown": {kind: [records[i].id for i in places] for kind, places in picked(counted.per_image).items()},
        "seeds": {"method": identity.get("settings", {}).get("seed"), "bootstrap": seed},
        "run": dict(identity),
        TIMING: timing(records),
    }
    return dict(plain(report))


def picked(scores: Any, amount: int = 4) -> dict[str, list[int]]:
    """Places of the best, the median and the worst photos by their own mean IoU, no photo twice; equals by place."""
    order = [int(i) for i in np.argsort(-np.nan_to_num(scores, nan=-1), kind="stable") if not np.isnan(scores[i])]
    amount = min(amount, max(1, len(order) // 3))
    middle = max(amount, (len(order) - amount) // 2)
    best, median = order[:amount], order[middle : middle + amount]
    worst = [i for i in order[-amount:][::-1] if i not in best and i not in median]
    return {"best": best, "median": median, "worst": worst}


def timing(records: Sequence[Record]) -> dict[str, float]:
    """Seconds a photo: median, mean and sum of all."""
    seconds = [record.seconds for record in records]
    return {"seconds_per_photo": statistics.median(seconds), "mean": statistics.fmean(seconds), "sum": sum(seconds)}


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    run, low_high = report["run"], report["intervals"]
    lines = [f"# {run['method']} on {run['data']} ({run['split']})", ""]
    lines += [f"{report['photos']} photos, protocol {run['protocol']['name']}: {run['protocol']['source']}.", ""]
    lines += ["| measure | value | 95 % interval |", "| --- | --- | --- |"]
    for name, title in MEASURES.items():
        mark = "**" if name == report["measure"] else ""
        low, high = low_high[name]
        lines.append(f"| {title} | {mark}{percent(report[name])}{mark} | {percent(low)} .. {percent(high)} |")
    lines += ["", f"{about_intervals(report['photos'])} The protocol's headline is in bold.", ""]
    lines += ["![best, median and worst photos](contact.png)", "", "![IoU of each class](iou.svg)", ""]
    lines += ["| class | IoU |", "| --- | --- |"]
    lines += [f"| {name} | {percent(value)} |" for name, value in report["iou"].items()]
    return "\n".join([*lines, *settings_table(report)])


def about_intervals(photos: int) -> str:
    """How the intervals are made, and whether so few photos carry them."""
    rough = (
        f" With fewer than {ROUGH} photos they are rough: they hold the truth less often than they say." if photos < ROUGH else ""
    )
    return f"Intervals: bootstrap over photos, expanded percentiles.{rough}"


def pictures(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Files beside the report: the IoU of each class below the headline with its interval, as bars."""
    measure = report["measure"]
    low, high = report["intervals"][measure]
    span = None if low is None else (100 * low, 100 * high)
    bars = [Bar(measure, _hundred(report[measure]), span), *(Bar(name, _hundred(v)) for name, v in report["iou"].items())]
    title = f"{report['run']['method']} on {report['run']['data']} ({report['run']['split']}), {report['photos']} photos"
    drawn = draw_bars(bars, title, "IoU, %; line: 95 % interval")
    return {f"iou.{kind}": content for kind, content in drawn.items()}


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def settings_table(report: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown: all settings of the run, and its seconds a photo."""
    took = report[TIMING]
    rows = [f"| {name} | {_cell(value)} |" for name, value in _settings(report["run"])]
    seconds = f"Seconds a photo: {took['seconds_per_photo']:.3g} (median), {took['mean']:.3g} (mean, with loading)."
    return ["", "| setting | value |", "| --- | --- |", *rows, "", seconds, ""]


def percent(value: float | None) -> str:
    """0.5023 -> "50.23"; nothing -> "-"."""
    return "-" if value is None else f"{100 * value:.2f}"


def _settings(run: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flat = [(k, v) for k, v in run.items() if k not in ("settings", "protocol", "versions", "words", "asked")]
    nested = [(f"{k}.{name}", v) for k in ("settings", "protocol", "versions") for name, v in run[k].items()]
    return flat + nested


def _cell(value: Any) -> str:
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 200 else text[:197] + "..."
