"""``segwright evaluate``, ``compare``, ``table`` and ``datasets``."""

from __future__ import annotations

import argparse
from typing import Any

from segwright.cli.listed import DATASET_NAMES, add_listed
from segwright.cli.options import EPILOG, add_method, add_networks, add_profile, add_set, method_spec, networks, split, vocabulary


def add(commands: Any) -> None:
    _add_evaluate(commands)
    _add_compare(commands)
    _add_table(commands)
    command = commands.add_parser("datasets", help="the data sets: classes, folder layout, protocol, licence")
    command.set_defaults(run=_datasets)


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="measure a method on a data set; resumes", epilog=EPILOG)
    add_listed(command, DATASET_NAMES, "--data", required=True, metavar="NAME", help="%(listed)s: see segwright datasets")
    command.add_argument("--root", metavar="DIR", help="the folder that holds the data set; mini ships with segwright")
    command.add_argument("--split", help="default: the data set's validation split")
    command.add_argument("--protocol", default="segwright", help="segwright (default), tcl, sclip, named, open (no words) or paper")
    named = command.add_argument_group("protocol named: words that are there and words that are not")
    named.add_argument("--absent", type=int, metavar="A", help="words a photo that are not in it (default: 2)")
    named.add_argument("--only", choices=("absent", "one"), help="ask for the absent words only; or for one word, there or not")
    command.add_argument("--limit", type=int, metavar="N", help="the first N photos")
    command.add_argument("--extra-words", metavar='"grass, sky"', help="asked for as well; what they find counts as background")
    command.add_argument("--present-only", action="store_true", help="ask each photo only for the words in its truth")
    _add_running(command)
    command.add_argument("--restart", action="store_true", help="throw away what is in REPORT")
    add_method(command)
    command.add_argument("-o", "--out", required=True, metavar="REPORT", help="folder for the report; a run in it is continued")
    command.set_defaults(run=_evaluate, resumes=True)


def _add_running(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes on the CPU (default: 1)")
    command.add_argument("--batch", type=int, default=1, metavar="B", help="photos through the networks at once (default: 1)")


def _add_compare(commands: Any) -> None:
    command = commands.add_parser("compare", help="reports side by side, differences to the first bootstrapped")
    command.add_argument("reports", nargs="+", metavar="REPORT")
    command.add_argument(
        "--measure", metavar="M", help="a figure of report.json, as miou_per_image or false_alarms (default: the headline)"
    )
    command.set_defaults(run=_compare)


def _add_table(commands: Any) -> None:
    command = commands.add_parser("table", help="run a table of a paper again: published beside measured", epilog=EPILOG)
    command.add_argument("name", nargs="?", metavar="NAME", help="freeseg-diff/2, g4seg/fig4 ...; without it they are listed")
    command.add_argument("--root", metavar="DIR", help="the folder that holds VOCdevkit, coco ...")
    about = "mini: every row on the miniature world; else only that column, of %(listed)s"
    add_listed(command, DATASET_NAMES, "--data", metavar="NAME", help=about)
    command.add_argument("--split", help="another split than the table's")
    command.add_argument("--limit", type=int, metavar="N", help="the first N photos")
    command.add_argument("--bank", metavar="DIR", help="folder for OVDiff's prototypes (default: in the cache)")
    command.add_argument("--controlnet", metavar="FOLDER", help="a ControlNet's folder, for the rows of G4Seg that have one")
    _add_running(command)
    add_set(command, "a setting in every row, instead of the table's; any number of times")
    add_networks(command)
    add_profile(command)
    command.add_argument("-o", "--out", default="segwright-tables", metavar="DIR", help="default: segwright-tables")
    command.set_defaults(run=_table, resumes=True)


def _evaluate(options: argparse.Namespace) -> int:
    from segwright.datasets import open_dataset
    from segwright.evaluation.run import evaluate

    dataset = open_dataset(options.data, options.root, options.split, vocabulary(options))
    report = evaluate(
        method_spec(options),
        dataset,
        options.out,
        options.protocol,
        options.limit,
        workers=options.workers,
        batch=options.batch,
        resume=not options.restart,
        extra_words=split(options.extra_words or ""),
        present_only=options.present_only,
        absent=options.absent,
        only=options.only,
        progress=None,
    )
    from segwright.evaluation.report import percent

    content = report.content
    for name in content["intervals"]:
        low, high = content["intervals"][name]
        mark = "  <- the protocol's headline" if name == content["measure"] else ""
        print(f"{name}: {percent(content[name])}  (95 %: {percent(low)} .. {percent(high)}){mark}")
    print(f"{content['photos']} photos -> {report.folder}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from segwright.evaluation.compare import compare, table

    print(table(compare(options.reports, options.measure)))
    return 0


def _table(options: argparse.Namespace) -> int:
    from segwright.evaluation.table_report import text
    from segwright.evaluation.table_rows import names
    from segwright.evaluation.tables import table

    if options.name is None:
        print("\n".join(f"{name}: {title}" for name, title in names().items()))
        return 0
    lines = table(
        options.name,
        options.root,
        options.data,
        options.out,
        options.preset,
        device=options.device,
        dtype=options.dtype,
        limit=options.limit,
        split=options.split,
        workers=options.workers,
        batch=options.batch,
        bank=options.bank,
        progress=None,
        settings=options.settings,
        profile=options.profile,
        controlnet=options.controlnet,
        **networks(options),
    )
    print(text(options.name, lines, options.settings), end="")
    return 0


def _datasets(options: argparse.Namespace) -> int:
    from segwright.datasets import describe

    print(describe())
    return 0
