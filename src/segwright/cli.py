"""The command line: parse, call, print. Errors become exit codes here and nowhere else.

Exit codes: 0 done, 1 some photos could not be done, 2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segwright.errors import InputError, SegwrightError

EPILOG = "Weights: --preset mini ships with the package (a small drawn world only); others are fetched when first used."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except SegwrightError as error:
        print(f"segwright: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("segwright: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="segwright", description=ABOUT, epilog=EPILOG)
    from segwright import __version__

    top.add_argument("--version", action="version", version=f"segwright {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_segment(commands)
    _add_explain(commands)
    _add_presets(commands)
    _add_mini(commands)
    return top


ABOUT = "Cut out of a photograph whatever can be named, with frozen diffusion models and no training."


def _add_method(command: argparse.ArgumentParser) -> None:
    words = command.add_mutually_exclusive_group()
    words.add_argument(
        "--words", metavar='"dog, sofa"', help="what to look for, separated by commas; without words the caption names it"
    )
    words.add_argument("--words-file", metavar="F", help="a file with one word a line")
    words.add_argument("--vocabulary", metavar="NAME", help="a benchmark's classes: voc, coco, ade20k, cityscapes, mini ...")
    command.add_argument("--preset", help="sd14, sd15, sd21, sdxl, mini or a folder (default: $SEGWRIGHT_PRESET, else sd15)")
    command.add_argument("--refine", choices=("crf", "pamr", "none"), default="crf", help="what sharpens the masks (default: crf)")
    command.add_argument("--clusters", type=int, default=4, metavar="K", help="regions a photo (default: 4)")
    command.add_argument(
        "--candidates", choices=("paper", "reference", "none"), default="paper", help="how the caption picks words (default: paper)"
    )
    command.add_argument("--sharpen-first", action="store_true", help="our own order: sharpen and split regions before naming them")
    command.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    command.add_argument("--seed", type=int, default=0)


def _add_segment(commands: Any) -> None:
    command = commands.add_parser("segment", help="cut out what is named in photos", epilog=EPILOG)
    command.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, and folders of photos")
    _add_method(command)
    command.add_argument(
        "-o", "--out", default="segwright-out", metavar="OUT", help="folder for the results (default: segwright-out)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a photo instead of text")
    command.set_defaults(run=_segment)


def _add_explain(commands: Any) -> None:
    command = commands.add_parser("explain", help="one HTML page of every step for a photo", epilog=EPILOG)
    command.add_argument("photo", metavar="PHOTO")
    _add_method(command)
    command.add_argument("-o", "--out", required=True, metavar="OUT", help="the page (OUT.html), or a folder for it")
    command.set_defaults(run=_explain)


def _add_presets(commands: Any) -> None:
    command = commands.add_parser("presets", help="what can be loaded, its licences and sizes, and where it lies")
    command.add_argument("--path", metavar="NAME", help="print the folder of one preset, alone")
    command.set_defaults(run=_presets)


def _add_mini(commands: Any) -> None:
    inner = commands.add_parser("mini", help="the miniature world: draw scenes, train the preset, measure it")
    steps = inner.add_subparsers(title="steps", metavar="STEP", required=True)
    scenes = steps.add_parser("scenes", help="draw scenes with exact masks, in Pascal VOC layout")
    scenes.add_argument("--count", type=int, default=200, metavar="N")
    scenes.add_argument("--seed", type=int, default=0, metavar="S")
    scenes.add_argument("--split", choices=("train", "val", "held"), default="val")
    scenes.add_argument("--font", metavar="FILE", help="Noto Color Emoji, where it is not found by itself")
    scenes.add_argument("-o", "--out", required=True, metavar="DIR")
    scenes.set_defaults(run=_mini_scenes)
    train = steps.add_parser("train", help="train the miniature models from scratch; goes on where it was broken off")
    train.add_argument("-o", "--out", required=True, metavar="DIR", help="the preset's folder; DIR/training keeps checkpoints")
    train.add_argument("--stage", choices=("clip", "vae", "diffusion", "captioner", "all"), default="all")
    train.add_argument(
        "--minutes", type=float, default=180.0, metavar="M", help="nominal: it fixes the number of steps (default: 180)"
    )
    train.add_argument("--steps", type=int, metavar="N", help="steps of a single stage, instead of minutes")
    train.add_argument("--processes", type=int, default=1, metavar="N", help="processes on the CPU, one core each")
    train.add_argument("--scenes", type=int, default=40_000, metavar="N", help="training scenes to draw")
    train.add_argument("--device", default="cpu")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--font", metavar="FILE")
    train.set_defaults(run=_mini_train)
    measure = steps.add_parser("measure", help="the model card's figures of a preset, on shipped scenes")
    measure.add_argument("--preset", default="mini")
    measure.add_argument("--split", choices=("val", "held"), default="val")
    measure.add_argument("--limit", type=int, metavar="N")
    measure.add_argument(
        "--only", metavar="ROW,ROW", help="clip, captioner, vae, generation, attention, regions, freeseg, open, size"
    )
    measure.add_argument("-o", "--out", metavar="FILE", help="a JSON file for the figures")
    measure.set_defaults(run=_mini_measure)
    sheets = steps.add_parser("sheets", help="the model card's pictures of a preset")
    sheets.add_argument("--preset", default="mini")
    sheets.add_argument("--split", choices=("val", "held"), default="val")
    sheets.add_argument("-o", "--out", required=True, metavar="DIR")
    sheets.set_defaults(run=_mini_sheets)


def _vocabulary(options: argparse.Namespace) -> tuple[str, ...] | None:
    from segwright.words import vocabulary

    if options.words is not None:
        return vocabulary.parse_words(options.words)
    if options.words_file is not None:
        return vocabulary.read_words_file(options.words_file)
    if options.vocabulary is not None:
        return vocabulary.load(options.vocabulary).words
    return None


def _method(options: argparse.Namespace) -> Any:
    from segwright.methods.freeseg_diff import FreeSegDiff

    return FreeSegDiff.load(
        options.preset, options.device, options.dtype, clusters=options.clusters, candidates=options.candidates,
        refine=None if options.refine == "none" else options.refine, sharpen_first=options.sharpen_first, seed=options.seed,
    )  # fmt: skip


def _segment(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segwright.images import find_photos
    from segwright.photos import segment

    words, photos = _vocabulary(options), find_photos(options.photos)
    outcomes = segment(photos, _method(options).many, options.out, words)
    bad = 0
    for outcome in tqdm(outcomes, total=len(photos), unit="photo", disable=True if len(photos) < 2 else None, leave=False):
        if outcome.error is not None or outcome.segmentation is None:
            bad += 1
            tqdm.write(f"segwright: {outcome.error}", file=sys.stderr)
        else:
            tqdm.write(_told(outcome, options.json), file=sys.stdout)
    if bad and len(photos) > 1:
        print(f"segwright: {bad} of {len(photos)} photos could not be done", file=sys.stderr)
    return 0 if not bad else 1 if bad < len(photos) else 2


def _told(outcome: Any, as_json: bool) -> str:
    from segwright.files.record import segments

    found = segments(outcome.segmentation)
    if as_json:
        return json.dumps({"photo": str(outcome.photo), "segments": found, "files": [str(f) for f in outcome.files]})
    whole = outcome.segmentation.labels.size
    parts = [f"{s['word']} {s['area'] / whole:.0%}" for s in found]
    caption = outcome.segmentation.notes.get("caption")
    said = f'  "{caption}"\n' if caption else ""
    return f"{outcome.photo}: {', '.join(parts) or 'nothing found'}\n{said}  -> {outcome.files[0]}"


def _explain(options: argparse.Namespace) -> int:
    from segwright.explanation import explain
    from segwright.images import read

    photo, out = Path(options.photo), Path(options.out)
    page = out if out.suffix.lower() in (".html", ".htm") else out / f"{photo.stem}.html"
    image = read(photo)
    print(explain(image, _method(options), page, _vocabulary(options), photo.name))
    return 0


def _presets(options: argparse.Namespace) -> int:
    from segwright.weights import describe, find_preset, preset_folder

    if options.path is not None:
        print(preset_folder(find_preset(options.path)))
        return 0
    print(describe())
    return 0


def _mini_scenes(options: argparse.Namespace) -> int:
    from segwright.mini.voc import write_scenes

    write_scenes(Path(options.out), options.count, options.seed, options.split, options.font)
    print(f"{options.count} scenes ({options.split}) in {options.out}")
    return 0


def _mini_train(options: argparse.Namespace) -> int:
    if options.steps is not None and options.stage == "all":
        raise InputError("--steps counts for a single stage; name it with --stage, or give --minutes")
    from segwright.mini.train.run import Settings, train_preset

    train_preset(
        Settings(
            Path(options.out),
            options.stage,
            options.minutes,
            options.device,
            options.seed,
            options.scenes,
            options.processes,
            options.steps,
            options.font,
        )
    )
    print(f"preset in {options.out}: use it with --preset {options.out}")
    return 0


def _mini_measure(options: argparse.Namespace) -> int:
    from segwright.mini.measure import ROWS, measure

    only = tuple(options.only.split(",")) if options.only else ROWS
    figures = measure(options.preset, options.split, options.limit, only)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        from segwright.files.disk import atomic_write

        atomic_write(options.out, (text + "\n").encode())
    return 0


def _mini_sheets(options: argparse.Namespace) -> int:
    from segwright.mini.sheets import write_sheets

    for path in write_sheets(Path(options.out), options.preset, options.split):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
