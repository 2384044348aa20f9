"""``segwright mini``: the miniature world."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from segwright.errors import InputError


def add(commands: Any) -> None:
    inner = commands.add_parser("mini", help="the miniature world: draw scenes, train the preset, measure it")
    steps = inner.add_subparsers(title="steps", metavar="STEP", required=True)
    scenes = steps.add_parser("scenes", help="draw scenes with exact masks, in Pascal VOC layout")
    scenes.add_argument("--count", type=int, default=200, metavar="N")
    scenes.add_argument("--seed", type=int, default=0, metavar="S")
    scenes.add_argument("--split", choices=("train", "val", "held"), default="val")
    scenes.add_argument("--words", metavar="WORD,WORD", help="draw just these things in every scene; a word may come several times")
    scenes.add_argument("-o", "--out", required=True, metavar="DIR")
    scenes.set_defaults(run=_scenes)
    atlas = steps.add_parser("atlas", help="make the atlas of glyphs anew from its icon packages (needs segwright[atlas])")
    atlas.add_argument("--packages", required=True, metavar="DIR", help="the unpacked npm packages that NOTICE names")
    atlas.add_argument("-o", "--out", required=True, metavar="DIR")
    atlas.set_defaults(run=_atlas)
    train = steps.add_parser("train", help="train the miniature networks; resumes from the last checkpoint")
    train.add_argument("-o", "--out", required=True, metavar="DIR", help="the preset's folder; DIR/training keeps checkpoints")
    train.add_argument(
        "--stage",
        default="all",
        metavar="STAGE",
        help="guide, clip, vae, tiny-vae, diffusion, captioner, vit, mae, groupvit or all",
    )
    train.add_argument(
        "--minutes", type=float, metavar="M", help="nominal, on one core: it fixes the number of steps (default: each stage's own)"
    )
    train.add_argument("--steps", type=int, metavar="N", help="steps of a single stage, instead of minutes")
    train.add_argument("--start", metavar="PRESET", help="a preset's folder whose weights to begin with")
    train.add_argument("--processes", type=int, default=1, metavar="N", help="processes on the CPU, one core each")
    train.add_argument("--scenes", type=int, default=40_000, metavar="N", help="training scenes to draw")
    train.add_argument("--scenes-folder", metavar="DIR", help="where they lie, to be shared by stages that run side by side")
    train.add_argument("--device", default="cpu")
    train.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, help="autocast (default: on CUDA only)")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train, resumes=True)
    measure = steps.add_parser("measure", help="the model card's figures of a preset, on shipped scenes, with 95 %% intervals")
    measure.add_argument("--preset", default="mini")
    measure.add_argument("--split", choices=("val", "held"), default="val")
    measure.add_argument("--limit", type=int, metavar="N")
    rows = "clip, patches, captioner, vae, generation, attention, regions, probes, size (default: all)"
    measure.add_argument("--only", metavar="ROW,ROW", help=rows)
    measure.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    measure.add_argument("-o", "--out", metavar="FILE", help="a JSON file for the figures")
    measure.set_defaults(run=_measure)
    sheets = steps.add_parser("sheets", help="the model card's pictures of a preset")
    sheets.add_argument("--preset", default="mini")
    sheets.add_argument("--split", choices=("val", "held"), default="val")
    sheets.add_argument("-o", "--out", required=True, metavar="DIR")
    sheets.set_defaults(run=_sheets)


def _scenes(options: argparse.Namespace) -> int:
    from segwright.mini.voc import write_scenes

    words = [w.strip() for w in options.words.split(",")] if options.words else None
    write_scenes(Path(options.out), options.count, options.seed, options.split, words)
    print(f"{options.count} scenes ({options.split}) in {options.out}")
    return 0


def _atlas(options: argparse.Namespace) -> int:
    from segwright.mini.atlas import make_atlas

    print(f"{make_atlas(Path(options.packages), Path(options.out))} glyphs in {options.out}")
    return 0


def _train(options: argparse.Namespace) -> int:
    if options.steps is not None and options.stage == "all":
        raise InputError("--steps counts for a single stage; name it with --stage, or give --minutes")
    from segwright.mini.train.run import Settings, train_preset

    settings = Settings(
        Path(options.out), options.stage, options.minutes, options.device, options.seed, options.scenes, options.processes,
        options.steps, Path(options.start) if options.start else None, options.bfloat16,
        Path(options.scenes_folder) if options.scenes_folder else None,
    )  # fmt: skip
    train_preset(settings)
    print(f"preset in {options.out}: use it with --preset {options.out}")
    return 0


def _measure(options: argparse.Namespace) -> int:
    from segwright.mini.measure import ROWS, measure

    only = tuple(options.only.split(",")) if options.only else ROWS
    figures = measure(options.preset, options.split, options.limit, only, dtype=options.dtype)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        from segwright.files.disk import atomic_write

        atomic_write(options.out, (text + "\n").encode())
    return 0


def _sheets(options: argparse.Namespace) -> int:
    from segwright.mini.sheets import write_sheets

    for path in write_sheets(Path(options.out), options.preset, options.split):
        print(path)
    return 0
