"""Every figure of methods and papers' tables, measured again: ``python tools/results.py [PART ...]``, or ``make results``.

Runs resume, and a part that is done costs nothing. Writes ``docs/results/PART.json`` (each figure with its 95 % interval,
number of photos, command, commit, weights and seconds), the page ``docs/results/PRESET.md`` of all parts that were measured
with that preset, and the README's table between its marks. ``--render`` writes pages and table from the files alone.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segwright.evaluation import table_report, table_rows, tables
from segwright.evaluation.report import percent
from segwright.files.disk import atomic_write, synced
from segwright.files.record import encode_record
from segwright.settings import as_text

HOME = Path(__file__).resolve().parents[1]
PAGES = HOME / "docs/results"
README = HOME / "README.md"
OPENING, CLOSING = "<!-- results: made by tools/results.py -->", "<!-- end of results -->"

METHODS = ("freeseg-diff", "ovdiff", "best", "diffsegmenter", "iseg", "cliper", "clip-es", "sclip", "maskclip", "groupvit")
WITHOUT_WORDS = ("freeseg-diff", "best")
REFINED = ("freeseg-diff", "ovdiff", "diffsegmenter", "cliper", "clip-es", "sclip", "maskclip")
BEST_PARTS = ("presence", "competition", "dense", "outline", "check")
SPLITS = ("val", "held")


@dataclass(frozen=True)
class Run:
    """One row: ``segwright evaluate`` with these options."""

    title: str
    method: str
    protocol: str = "segwright"
    settings: Mapping[str, Any] = field(default_factory=dict)
    refine: str | None = None
    only: str | None = None


@dataclass(frozen=True)
class Part:
    """Rows that are measured on the same photos; differences are to the row ``against``."""

    title: str
    runs: tuple[Run, ...]
    against: str = ""


def parts() -> dict[str, Part]:
    """All parts but the papers' tables, by name; each is run on every split."""
    known = {
        "methods": Part("All words compete", tuple(Run(m, m) for m in METHODS), "best"),
        "open": Part("No words are given", tuple(Run(m, m, "open") for m in WITHOUT_WORDS), "best"),
        "named": Part("Words that are there and two that are not", tuple(Run(m, m, "named") for m in METHODS), "best"),
        "absent": Part("Only words that are not there", tuple(Run(m, m, "named", only="absent") for m in METHODS), "best"),
        "one": Part("One word: is it there?", tuple(Run(m, m, "named", only="one") for m in METHODS), "best"),
        "best": Part("best without each of its parts", (Run("all parts", "best", "named"), *_left_out()), "all parts"),
    }
    for method in REFINED:
        rows = (
            Run(method, method, refine="none"),
            *(Run(f"... with {r}", method, refine=r) for r in ("crf", "g4seg", "g4seg,crf")),
        )
        known[f"refined-{method}"] = Part(f"Refined: {method}", rows, method)
    return known


def _left_out() -> Iterator[Run]:
    for part in BEST_PARTS:
        yield Run(f"without {part}", "best", "named", {"parts": tuple(p for p in BEST_PARTS if p != part)})


def measure(part: Part, split: str, options: argparse.Namespace) -> dict[str, Any]:
    """The content of a part's file."""
    from segwright.datasets import open_dataset
    from segwright.evaluation.compare import compare

    dataset = open_dataset(options.data, options.root, split)
    rows: list[dict[str, Any]] = []
    folders: dict[str, Path] = {}
    for run in part.runs:
        print(f"{part.title}, {split}: {run.title}", file=sys.stderr, flush=True)
        rows.append(_row(run, split, options, dataset, folders))
    if part.against in folders:
        others = [title for title in folders if title != part.against]
        for title, row in zip(others, compare([folders[t] for t in (part.against, *others)])[1:], strict=True):
            if row.difference is not None:
                found = next(r for r in rows if r["title"] == title)
                found["difference"] = [row.difference.value, row.difference.low, row.difference.high]
    return {"title": part.title, "against": part.against, "rows": rows, **_about(options, split)}


def _row(run: Run, split: str, options: argparse.Namespace, dataset: Any, folders: dict[str, Path]) -> dict[str, Any]:
    from segwright.errors import SegwrightError
    from segwright.evaluation.run import evaluate

    out = options.work / f"{options.preset}-{options.data}-{split}" / _folder(run)
    row: dict[str, Any] = {"title": run.title, "command": shlex.join(command(run, split, options))}
    if run.method in options.leave_out.split(","):
        return row | {"missing": "not run yet"}
    try:
        only: Any = run.only
        report = evaluate(spec(run, options), dataset, out, run.protocol, options.limit, only=only, progress=None).content
    except SegwrightError as error:
        return row | {"missing": str(error)}
    folders[run.title] = out
    kept = {name: [report[name], *report["intervals"][name]] for name in report["intervals"]}
    about = {"photos": report["photos"], "seconds": report["timing"]["seconds_per_photo"], "networks": report["run"]["networks"]}
    return row | {"measure": report["measure"], "figures": kept, **about}


def spec(run: Run, options: argparse.Namespace) -> Any:
    """The method that is measured, as a ``MethodSpec``."""
    from segwright.methods.base import MethodSpec

    refine = {} if run.refine is None else {"refine": None if run.refine == "none" else run.refine}
    return MethodSpec(run.method, options.preset, options.device, options.dtype, {**run.settings, **refine})


def command(run: Run, split: str, options: argparse.Namespace) -> list[str]:
    """``segwright evaluate`` as it measures the same again; where the data set and the report lie is left to whoever does."""
    parts = ["segwright", "evaluate", "--method", run.method, "--preset", options.preset]
    parts += ["--device", options.device] if options.device else []
    parts += ["--dtype", options.dtype] if options.dtype != "float32" else []
    parts += ["--data", options.data, *(["--root", "DIR"] if options.root else []), "--split", split]
    parts += ["--protocol", run.protocol] if run.protocol != "segwright" else []
    parts += ["--only", run.only] if run.only else []
    parts += ["--refine", run.refine] if run.refine else []
    parts += ["--limit", str(options.limit)] if options.limit else []
    for name, value in run.settings.items():
        parts += ["--set", f"{name}={as_text(value)}"]
    return [*parts, "-o", "REPORT"]


def _folder(run: Run) -> str:
    told = "-".join([run.method, run.protocol, run.only or "all", run.refine or "own", *map(str, run.settings.values())])
    return "".join(c if c.isalnum() else "-" for c in told).strip("-")


def paper_table(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The content of the file of a paper's table."""
    lines = tables.table(
        name, options.root, options.data, options.work / "tables", options.preset,
        device=options.device, dtype=options.dtype, limit=options.limit, bank=str(options.work / "banks"), progress=None,
    )  # fmt: skip
    return {"table": name, "title": table_rows.names()[name], "lines": [vars(line) for line in lines], **_about(options, None)}


def _about(options: argparse.Namespace, split: str | None) -> dict[str, Any]:
    return {"preset": options.preset, "data": options.data, "split": split, "limit": options.limit, "commit": _commit()}


def _commit() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=HOME, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def page(preset: str, contents: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all parts of a preset."""
    text = [
        f"# Measured with preset {preset}",
        "",
        "Made by `make results`; the files beside this page hold every row's command, interval and seconds.",
        "",
    ]
    for name, content in contents.items():
        text += [f"## {content['title']}{_where(content)}", "", *(_paper(content) if "table" in content else _rows(content)), ""]
        text += [f"[{name}.json]({name}.json), commit `{content['commit']}`", ""]
    return "\n".join(text)


def _where(content: Mapping[str, Any]) -> str:
    place = f" ({content['table']})" if "table" in content else f": {content['split']}"
    return place + (f", the first {content['limit']} photos" if content["limit"] else "")


def _rows(content: Mapping[str, Any]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in content["rows"] for name in row.get("figures", {})))
    against = f" difference to {content['against']} |" if content["against"] else ""
    yield "| |" + "".join(f" {name} |" for name in names) + against + " s a photo |"
    yield "|" + " --- |" * (len(names) + 2 + bool(against))
    for row in content["rows"]:
        if "missing" in row:
            yield f"| {row['title']} | missing: {row['missing']} |" + " |" * (len(names) + bool(against))
            continue
        cells = [_figure(*row["figures"][name]) for name in names]
        if against:
            cells.append(_change(*row["difference"]) if "difference" in row else "")
        yield "| " + " | ".join([row["title"], *cells, f"{row['seconds']:.2f}"]) + " |"


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None else f"{percent(value)} [{percent(low)}, {percent(high)}]"


def _change(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _paper(content: Mapping[str, Any]) -> list[str]:
    lines = [table_rows.Line(**line) for line in content["lines"]]
    return [line for line in table_report.text(content["table"], lines).splitlines() if not line.startswith("# ")]


def readme_table(contents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the README shows: each method's headlines in the parts and splits that were measured."""
    columns = [(p, s) for p in ("methods", "named", "open") for s in SPLITS if f"{p}-{s}" in contents]
    heads = {"methods": "all words, mIoU", "named": "named, IoU of present; false alarms", "open": "no words, mIoU"}
    found = {(part, split): contents[f"{part}-{split}"] for part, split in columns}
    if not columns:
        return []
    lines = ["| method |" + "".join(f" {heads[p]}, {s} |" for p, s in columns), "| --- |" + " --- |" * len(columns)]
    for method in METHODS:
        cells = [_headline(found[c], method) for c in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def _headline(content: Mapping[str, Any], title: str) -> str:
    for row in content["rows"]:
        if row["title"] == title and "figures" in row:
            alarms = row["figures"].get("false_alarms")
            return _figure(*row["figures"][row["measure"]]) + (f"; {percent(alarms[0])}" if alarms else "")
    return "-"


def render(preset: str, readme: Path | None, pages: Path) -> None:
    """Pages and README from the files."""
    order = [*(f"{part}-{split}" for part in parts() for split in SPLITS), *(n.replace("/", "-") for n in table_rows.names())]
    contents = {n: json.loads((pages / f"{n}.json").read_text("utf8")) for n in order if (pages / f"{n}.json").is_file()}
    contents = {n: c for n, c in contents.items() if c["preset"] == preset}
    atomic_write(pages / f"{preset}.md", synced(page(preset, contents).encode()))
    lines = readme_table(contents)
    text = readme.read_text("utf8") if readme else ""
    if readme and lines and OPENING in text:
        head, rest = text.split(OPENING)
        tail = rest.split(CLOSING)[1]
        atomic_write(readme, synced("\n".join([head + OPENING, "", *lines, "", CLOSING + tail]).encode()))


def _render(options: argparse.Namespace) -> None:
    render(options.preset, README if options.pages == PAGES else None, options.pages)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts())} and the papers' tables; default: all")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--data", default="mini")
    parser.add_argument("--root", type=Path, help="the folder that holds the data set")
    parser.add_argument("--splits", default=",".join(SPLITS), help="default: val,held")
    parser.add_argument("--limit", type=int, help="the first so many photos")
    parser.add_argument("--device", default=None)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--leave-out", default="", metavar="M,M", help="methods whose rows stay missing")
    parser.add_argument("--work", type=Path, default=HOME / ".cache/results", help="where the runs lie")
    parser.add_argument("--pages", type=Path, default=PAGES, help="where files and page go; the README only changes with its own")
    parser.add_argument("--render", action="store_true", help="write pages and table from the files that are there")
    options = parser.parse_args(arguments)
    known = parts()
    unknown = set(options.parts) - {*known, *table_rows.names()}
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join([*known, *table_rows.names()])}")
    if not options.render:
        options.pages.mkdir(parents=True, exist_ok=True)
        for name, work in _work(options.parts or [*known, *table_rows.names()], known, options):
            atomic_write(options.pages / f"{name}.json", synced(encode_record(work())))
            _render(options)
    _render(options)
    return 0


def _work(wanted: Sequence[str], known: Mapping[str, Part], options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in wanted:
        if name in known:
            for split in options.splits.split(","):
                yield f"{name}-{split}", lambda name=name, split=split: measure(known[name], split, options)  # type: ignore[misc]
        else:
            yield name.replace("/", "-"), lambda name=name: paper_table(name, options)  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main())
