"""The report of the protocol "named": its figures as JSON, for people as Markdown, and the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from segwright.evaluation.figures import LEVEL, RESAMPLES, count, interval
from segwright.evaluation.measuring import Record, Task
from segwright.evaluation.named import HEADLINES, LEAST, curve, pairs, resampled, summary, word_ious
from segwright.evaluation.report import TIMING, about_intervals, percent, picked, settings_table, timing
from segwright.files.record import plain

MEASURES = {
    "iou_present": "IoU of the words that are there (per word over its photos, mean over words)",
    "found": f"words that are there and are given a region above {LEAST:.1%} of the photo",
    "false_alarms": "absent words that are given one",
    "absent_area": "area of the absent words, of the photo",
    "right": "words decided rightly: there or not",
    "average_precision": "average precision over the confidence",
}
PLOT = "found-against-false-alarms.svg"
SIDE, LEFT, TOP = 320, 56, 24  # of the plot, in pixels


def make_report(identity: Mapping[str, Any], records: Sequence[Record], task: Task, seed: int = 0) -> dict[str, Any]:
    """The content of ``report.json``; all but its ``timing`` follows from settings and photos, whatever was interrupted."""
    words = task.dataset.words
    found = pairs(records, len(words))
    figures, drawn = summary(found), resampled(found, RESAMPLES, seed)
    measure = HEADLINES[task.asking.which]
    each = count([record.cells for record in records], len(words) + 1, True).per_image
    report = {
        "measure": measure,
        "value": figures[measure],
        **figures,
        "intervals": {name: interval(values, len(records), figures[name]) for name, values in drawn.items()},
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": seed},
        "iou": dict(zip(words, word_ious(found).tolist(), strict=True)),
        "curve": [{"confidence": t, "false_alarms": alarms, "found": there} for t, alarms, there in curve(found)],
        "asked": {"present": int(found.present.sum()), "absent": int(found.absent.sum()), "all": len(found.word)},
        "least": LEAST,
        "photos": len(records),
        "shown": {kind: [records[i].id for i in places] for kind, places in picked(each).items()},
        "seeds": {"method": identity.get("settings", {}).get("seed"), "bootstrap": seed, "words": task.asking.seed},
        "run": dict(identity),
        TIMING: timing(records),
    }
    return dict(plain(report))


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    run, asked = report["run"], report["asked"]
    lines = [f"# {run['method']} on {run['data']} ({run['split']}), words that are there and words that are not", ""]
    how = {"named": "the words in its truth and {} that are not", "absent": "{} words that are not in it", "one": "one word"}
    each = how[run["asking"]["which"]].format(run["asking"]["absent"])
    lines += [f"{report['photos']} photos, each asked for {each}: {asked['present']} present, {asked['absent']} absent.", ""]
    lines += ["| measure | value | 95 % interval |", "| --- | --- | --- |"]
    for name, title in MEASURES.items():
        mark = "**" if name == report["measure"] else ""
        low, high = report["intervals"][name]
        lines.append(f"| {title} | {mark}{percent(report[name])}{mark} | {percent(low)} .. {percent(high)} |")
    lines += ["", f"{about_intervals(report['photos'])} The headline is in bold.", "", f"![the plot]({PLOT})", ""]
    lines += ["![best, median and worst photos](contact.png)", "", "| word | IoU |", "| --- | --- |"]
    lines += [f"| {name} | {percent(value)} |" for name, value in report["iou"].items()]
    return "\n".join([*lines, *settings_table(report)])


def pictures(report: Mapping[str, Any]) -> dict[str, bytes]:
    """The plot of finding against false alarms: the run as a dot, and what other confidences would give as a line."""
    dot = [(report["false_alarms"], report["found"])] if None not in (report["false_alarms"], report["found"]) else []
    line = [(row["false_alarms"], row["found"]) for row in report["curve"]]
    return {PLOT: plot(line, dot, str(report["run"]["method"])).encode()}


def plot(line: Sequence[tuple[float, float]], dots: Sequence[tuple[float, float]], name: str) -> str:
    """An SVG picture: shares of absent words to the right, of present words upwards, both 0..1."""
    place = [(f"{LEFT + SIDE * x:.1f}", f"{TOP + SIDE * (1 - y):.1f}") for x, y in ((0.0, 0.0), *line)]
    parts = [f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = LEFT + SIDE * tick, TOP + SIDE * (1 - tick)
        parts.append(f'<text x="{x}" y="{TOP + SIDE + 16}" text-anchor="middle">{tick:.0%}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:.0%}</text>')
    if line:
        parts.append(f'<polyline points="{" ".join(",".join(p) for p in place)}" fill="none" stroke="#0072b2" stroke-width="2"/>')
    for x, y in dots:
        parts.append(f'<circle cx="{LEFT + SIDE * x:.1f}" cy="{TOP + SIDE * (1 - y):.1f}" r="5" fill="#d55e00"/>')
    middle, low = LEFT + SIDE / 2, TOP + SIDE + 36
    parts.append(f'<text x="{middle}" y="{low}" text-anchor="middle">absent words that are given a region</text>')
    turned = (
        f'<text transform="translate(14 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle">present words that are found</text>'
    )
    title = f'<text x="{middle}" y="{TOP - 8}" text-anchor="middle">{escape(name)}</text>'
    size = f'width="{LEFT + SIDE + 24}" height="{low + 12}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}{turned}{title}</svg>\n'
    )
