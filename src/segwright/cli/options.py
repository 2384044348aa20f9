"""What several commands share: words, networks, a method and its settings."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from segwright.errors import InputError

EPILOG = "Weights: --preset mini ships with the package (a small drawn world only); others are fetched when first used."
# Options that are settings of a method, by the settings' own names; None means: as the method has it.
SETTINGS = ("confidence", "refine", "clusters", "candidates", "sharpen_first", "extractors", "background", "seed")
LISTS = ("extractors",)  # these hold several values, joined by commas
OPTIONS = ("bank", "stuff")  # what methods' load takes beside settings


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
    command.add_argument("--preset", help="sd14, sd15, sd21, sdxl, mini or a folder (default: $SEGWRIGHT_PRESET, else sd15)")
    command.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def add_method(command: argparse.ArgumentParser) -> None:
    """Words, networks, ``--method`` and every method's settings."""
    from segwright.methods import DEFAULT, METHODS

    add_words(command)
    add_networks(command)
    command.add_argument(
        "--method",
        default=DEFAULT,
        metavar="M",
        help=f"{', '.join(METHODS)} or package.module:Class (default: {DEFAULT})",
    )
    command.add_argument(
        "--refine", metavar="R,R", help="what sharpens, in this order: crf, pamr, g4seg; or none (default: the method's own)"
    )
    command.add_argument("--seed", type=int, help="default: 0")
    command.add_argument(
        "--candidates",
        choices=("paper", "reference", "prefilter", "none"),
        help="which of the words may be in a photo: by its caption (paper, reference), by CLIP (prefilter; not freeseg-diff), "
        "or all (none) (default: as the method's paper)",
    )
    best = command.add_argument_group("settings of best")
    best.add_argument(
        "--confidence", type=float, metavar="C", help="0..1: lower finds more of what is named, higher is surer (default: 0.2)"
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


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The method's settings that were given.

    Raises:
        InputError: a setting that this method does not have.
    """
    from segwright.methods import find_method

    known = {f.name for f in fields(find_method(options.method).Settings)}
    given = {name: value for name in SETTINGS if (value := getattr(options, name, None)) is not None}
    _refuse(set(given) - known, options.method)
    given |= {name: split(given[name]) for name in LISTS if name in given}
    if given.get("refine") == "none":
        given["refine"] = None
    return given


def loading(options: argparse.Namespace) -> dict[str, Any]:
    """What the method's load takes beside its settings, as far as it was given.

    Raises:
        InputError: something that this method does not take.
    """
    from segwright.methods import find_method

    given = {name: value for name in OPTIONS if (value := getattr(options, name, None)) is not None}
    _refuse(set(given) - set(find_method(options.method).options), options.method)
    return given | ({"stuff": split(given["stuff"])} if "stuff" in given else {})


def _refuse(foreign: set[str], method: str) -> None:
    if foreign:
        flags = ", ".join("--" + name.replace("_", "-") for name in sorted(foreign))
        raise InputError(f"{flags} is no setting of {method}; leave it out or choose another --method")


def method_spec(options: argparse.Namespace) -> Any:
    """The method asked for as a ``MethodSpec``, which each process can load for itself.

    Raises:
        InputError: a setting that this method does not have.
    """
    from segwright.methods.base import MethodSpec

    spec = MethodSpec(options.method, options.preset, options.device, options.dtype, settings(options), loading(options))
    fetch_first(options)
    return spec


def method(options: argparse.Namespace) -> Any:
    """The method asked for, with the settings that were given.

    Raises:
        InputError: a setting that this method does not have.
    """
    return method_spec(options).load()


def fetch_first(options: argparse.Namespace) -> None:
    """Fetch all weights that the method will ask for, before any of its work is done.

    Raises:
        WeightsError: they cannot be had.
    """
    from segwright.fetching import prefetch

    words = any(getattr(options, name, None) is not None for name in ("words", "words_file", "vocabulary"))
    prefetch(options.method, options.preset, options.dtype, settings(options), words)


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
