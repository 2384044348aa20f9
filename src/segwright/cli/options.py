"""What several commands share: words, networks, a method and its settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from segwright.cli.listed import METHOD_NAMES, PRESET_NAMES, REFINER_NAMES, Listed, add_listed
from segwright.errors import InputError

EPILOG = "Weights: --preset mini ships with the package (a small drawn world only); others are fetched when first used."
# Options that are settings of a method, by the settings' own names; None means: as the method has it.
SETTINGS = ("confidence", "refine", "clusters", "candidates", "sharpen_first", "extractors", "background", "seed")
OPTIONS = ("bank", "stuff")  # what methods' load takes beside settings
SINGLE = ("diffusion", "clip", "captioner", "vit")  # as segwright.presets.CHOICES, which needs torch


def add_words(command: argparse.ArgumentParser) -> None:
    words = command.add_mutually_exclusive_group()
    words.add_argument(
        "--words",
        metavar='"dog, sofa; couch"',
        help="what to look for: commas part words, semicolons synonyms; without words the caption names it",
    )
    words.add_argument("--words-file", metavar="F", help="a file with one word a line")
    words.add_argument("--vocabulary", metavar="NAME", help="a benchmark's classes: voc, coco, ade20k, cityscapes, mini ...")


def add_networks(command: argparse.ArgumentParser) -> None:
    add_listed(command, PRESET_NAMES, "--preset", help="%(listed)s or a folder (default: $SEGWRIGHT_PRESET, else sd15)")
    command.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    command.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16", "auto"),
        default="float32",
        help="auto: what the device is fastest in, measured once",
    )
    add_single(command)


def add_single(command: argparse.ArgumentParser, kinds: Sequence[str] = SINGLE) -> None:
    single = command.add_argument_group("single networks in place of the preset's")
    tables = {"diffusion": "DIFFUSION", "clip": "CLIPS", "captioner": "CAPTIONERS", "vit": "VITS"}
    for kind in kinds:
        about = ", with the settings that go with it" if kind == "diffusion" else ""
        add_listed(single, Listed(f"segwright.presets:{tables[kind]}"), f"--{kind}", metavar="N", help=f"of %(listed)s{about}")


def settle_dtype(options: argparse.Namespace) -> None:
    """``--dtype auto`` by the number type's own name, once for all that follows: runs, workers and what is fetched."""
    if getattr(options, "dtype", None) == "auto":
        from segwright.weights import pick_device, pick_dtype

        options.dtype = str(pick_dtype("auto", pick_device(options.device))).removeprefix("torch.")


def add_set(command: argparse.ArgumentParser, help: str) -> None:
    """``--set NAME=VALUE``, any number of times."""
    command.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help=help)


def add_profile(command: argparse.ArgumentParser) -> None:
    """``--as paper`` and ``--as published``."""
    about = "networks and settings as the paper, or as its published code, has them; what else is given goes before"
    command.add_argument("--as", dest="profile", choices=("paper", "published"), help=about)


def networks(options: argparse.Namespace) -> dict[str, Any]:
    """The single networks that were chosen, and ``fast``, as ``segwright.load`` takes them."""
    chosen = {kind: name for kind in SINGLE if (name := getattr(options, kind, None)) is not None}
    return chosen | ({"fast": True} if getattr(options, "fast", False) else {})


def add_method(command: argparse.ArgumentParser) -> None:
    """Words, networks, ``--method`` and every method's settings."""
    from segwright.methods import DEFAULT

    add_words(command)
    add_networks(command)
    about = "%(listed)s or package.module:Class (default: %(default)s)"
    add_listed(command, METHOD_NAMES, "--method", default=DEFAULT, metavar="M", help=about)
    add_profile(command)
    command.add_argument(
        "--fast", action="store_true", help="less work for almost the same masks: tiny encoder where there is one, greedy captions"
    )
    about = "work on photos of more than so many megapixels at that size, to spare memory: 4, for instance (default: never)"
    command.add_argument("--largest", type=float, metavar="MP", help=about)
    about = "what sharpens, in this order, of %(listed)s; or none (default: the method's own)"
    add_listed(command, REFINER_NAMES, "--refine", metavar="R,R", help=about)
    about = "after the refiners, parts of fewer pixels take the label around them; 0: all stay (default: the method's own)"
    command.add_argument("--min-region", type=int, metavar="N", help=about)
    command.add_argument("--seed", type=int, help="default: 0")
    command.add_argument(
        "--candidates",
        choices=("paper", "reference", "prefilter", "none"),
        help="which of the words may be in a photo: by its caption (paper, reference), by CLIP (prefilter; not freeseg-diff), "
        "or all (none) (default: as the method's paper)",
    )
    add_set(command, "any setting of the method, any number of times; segwright methods NAME lists them")
    best = command.add_argument_group("settings of best")
    best.add_argument(
        "--confidence", type=float, metavar="C", help="0..1: lower finds more of what is named, higher is surer (default: 0.3)"
    )
    freeseg = command.add_argument_group("settings of freeseg-diff")
    freeseg.add_argument("--clusters", type=int, metavar="K", help="regions a photo (default: 4)")
    freeseg.add_argument(
        "--sharpen-first", action="store_true", default=None, help="our own order: sharpen and split regions before naming them"
    )
    ovdiff = command.add_argument_group("settings of ovdiff")
    ovdiff.add_argument("--bank", metavar="BANK", help="prototypes, as segwright prototypes makes them (default: one in the cache)")
    ovdiff.add_argument("--stuff", metavar='"grass, sky"', help="which of the words are stuff, not things, where they are new")
    ovdiff.add_argument("--extractors", metavar="E,E", help="of those that the bank has (default: all)")
    ovdiff.add_argument("--background", choices=("prototypes", "threshold", "none"), help="default: prototypes")


def split(text: str) -> tuple[str, ...]:
    """ "sd, clip" -> ("sd", "clip")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def method_spec(options: argparse.Namespace) -> Any:
    """The method asked for, with its settings, as a ``MethodSpec``, which each process can load for itself.

    Raises:
        InputError: a setting that this method does not have, or one that is given both by its own flag and by ``--set``.
    """
    from segwright.methods.base import MethodSpec

    spec = MethodSpec(
        options.method, options.preset, options.device, options.dtype,
        extras=networks(options), profile=options.profile, largest=options.largest,
    )  # fmt: skip
    spec = spec.for_data(options.data) if getattr(options, "data", None) is not None else spec
    flags = {name: value for name in (*SETTINGS, *OPTIONS) if (value := getattr(options, name, None)) is not None}
    known = {*spec.kind.options, *spec.kind.settings_tree()}
    if foreign := ", ".join(_flag(name) for name in flags if name not in known):
        raise InputError(f"{foreign} is no setting of {spec.name}; leave it out or choose another --method")
    twice = [name for name in flags if any(text.partition("=")[0].strip() == name for text in options.settings)]
    if twice:
        raise InputError(f"{_flag(twice[0])} and --set {twice[0]} say the same; give one of them")
    own = [f"{name}={str(value).lower() if value is True else value}" for name, value in flags.items()]
    spec = _without_specks(spec.with_texts(own).with_texts(options.settings), options.min_region)
    return spec


def _without_specks(spec: Any, smallest: int | None) -> Any:
    """The spec with ``specks`` as its last refiner, or for 0 without it."""
    from segwright.refine.pipeline import parse_refiners
    from segwright.refine.specks import with_smallest

    if smallest is None:
        return spec
    row = parse_refiners(spec.kind.checked(spec.settings).refine, spec.kind.refiners)
    return replace(spec, settings={**spec.settings, "refine": with_smallest(row, smallest) or None})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def method(options: argparse.Namespace) -> Any:
    """The method asked for, with the settings that were given, its weights fetched.

    Raises:
        InputError: as ``method_spec``.
        WeightsError: as ``fetch_first``.
    """
    spec = method_spec(options)
    fetch_first(options, spec)
    return spec.load()


def fetch_first(options: argparse.Namespace, spec: Any) -> None:
    """Fetch all weights that the method will ask for, before any of its work is done.

    Raises:
        WeightsError: they cannot be had.
    """
    spec.fetch(any(getattr(options, name, None) is not None for name in ("words", "words_file", "vocabulary")))


def vocabulary(options: argparse.Namespace) -> tuple[str, ...] | None:
    """The words given in one of the three ways, or None."""
    from segwright.words import vocabulary

    if options.words is not None:
        return vocabulary.parse_words(options.words)
    if options.words_file is not None:
        return vocabulary.read_words_file(options.words_file)
    if options.vocabulary is not None:
        return vocabulary.load(options.vocabulary).words
    return None
