"""Words -> bank: support pictures, where the word is in them, and prototypes (OVDiff Secs. 3.2 and 3.3).

Pictures are made in batches that always hold the same seeds, so an interrupted run resumes with the next batch
and ends with the same bits as one that was not.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from segwright.errors import InputError
from segwright.files.disk import atomic_write, synced
from segwright.methods.base import Progress
from segwright.methods.ovdiff.attribution import attribution_masks, proposal_masks
from segwright.methods.ovdiff.averaging import PARTS, build_sides
from segwright.methods.ovdiff.bank import Bank, Entry, read_tensors, write_tensors
from segwright.methods.ovdiff.extractors import NETWORK, check_extractors, extract
from segwright.methods.ovdiff.proposals import PROPOSALS, proposal_networks, propose
from segwright.methods.ovdiff.prototypes import Prototypes
from segwright.models.sampling import SamplingSettings, places, sample
from segwright.presets import FEW_STEPS, Preset
from segwright.settings import changed, take_parts
from segwright.types import SEEDS, Image, check_seed
from segwright.weights import Networks

Proposer = Callable[[Networks, Sequence[Image]], list[Tensor]]
STEP = 10_000  # seeds between two banks' pictures: seed s makes picture i from s * STEP + i
SIDES = ("foreground", "background")


@dataclass(frozen=True)
class SupportSettings:
    """How the words of a bank are made. Defaults: OVDiff Sec. 4 and its published code.

    Attributes:
        pictures: N support pictures a word (Sec. 4: 32).
        batch: pictures made at once (published code: 8).
        prompt: with "{}" where the word goes (Sec. 3.2).
        generator: few-step weights that make the pictures in place of the preset's: "sd-turbo" or "lcm"; None, as in the paper: the
            preset's.
        sampling: None: the generator's (4 steps, neither guidance nor a negative prompt: ``segwright.presets.FEW_STEPS``), else
            the preset's (published code: 30 steps of DPM-Solver++, guidance 8).
        extractors: None: the preset's ("sd", "clip", "dino": Table 2's best).
        proposals: "attention": multi-Otsu thresholds (the paper's "-CutLER"); "maskcut" or "sam": Eq. 1 on their masks.
        parts: K of k-means, for foreground and background each (Sec. 3.3; published code: 32).
        seed: of everything (published code: 42).
    """

    pictures: int = 32
    batch: int = 8
    prompt: str = "A good picture of a {}"
    generator: str | None = None
    sampling: SamplingSettings | None = field(default=None, metadata={"preset": "sampling"})
    extractors: tuple[str, ...] | None = None
    proposals: str = "attention"
    parts: int = PARTS
    seed: int = 42

    def __post_init__(self) -> None:
        take_parts(self)
        check_seed(self.seed, SEEDS // STEP - 1)
        if not 1 <= self.pictures <= STEP or self.batch < 1 or self.parts < 1:
            got = f"{self.pictures}, {self.batch} and {self.parts}"
            raise InputError(f"a support set needs 1..{STEP} pictures, and batch and parts of 1 or more, got {got}")
        if "{}" not in self.prompt:
            raise InputError(f'the support prompt needs "{{}}" where the word goes, got {self.prompt!r}')
        if self.generator is not None and self.generator not in FEW_STEPS:
            raise InputError(f"generator must be one of {', '.join(FEW_STEPS)}, got {self.generator!r}")
        if self.extractors is not None:
            check_extractors(self.extractors)
        if self.proposals not in PROPOSALS:
            raise InputError(f"proposals must be one of {', '.join(PROPOSALS)}, got {self.proposals!r}")

    def filled(self, networks: Networks) -> SupportSettings:
        """With the preset's own where nothing is said."""
        preset = sampled_by(networks.preset, self.generator)
        return replace(self, sampling=self.sampling or preset.sampling, extractors=self.extractors or preset.extractors)

    def described(self, networks: Networks) -> dict[str, Any]:
        """``filled`` as a bank keeps it."""
        return {name: value for name, value in asdict(self.filled(networks)).items() if value is not None}


def sampled_by(preset: Preset, generator: str | None) -> Preset:
    """The preset with the sampling of few-step weights, if there are any."""
    return preset if generator is None else replace(preset, sampling=FEW_STEPS[generator].sampling)


@dataclass(frozen=True)
class WordPrototypes:
    """One word as a bank keeps it: extractor -> foreground, and background."""

    entry: Entry
    foreground: dict[str, Prototypes] = field(default_factory=dict)
    background: dict[str, Prototypes] = field(default_factory=dict)


def open_bank(networks: Networks, folder: str | os.PathLike[str], settings: SupportSettings) -> Bank:
    """The bank of these networks and settings, begun if there is none.

    Raises:
        InputError: it was made with others.
        WeightsError: a folder preset lacks a network that they need.
    """
    used, drawn = prepare(networks, settings), networks.generator(settings.generator)
    about: dict[str, Any] = {
        "preset": networks.preset.name if networks.preset.parts else Path(networks.preset.name).name,
        "networks": {name: networks.identity(name) for name in used}
        | ({} if settings.generator is None else {"generator": drawn.identity("diffusion")}),
        "dtype": str(networks.dtype).removeprefix("torch."),
        "matching": asdict(networks.preset.matching),
        "support": settings.described(networks),
    }
    return Bank.make(folder, about)


def prepare(networks: Networks, settings: SupportSettings) -> tuple[str, ...]:
    """Fetch all that making words needs, before a picture is drawn; the kinds of networks.

    Raises:
        WeightsError: something cannot be had, or a folder preset lacks it.
    """
    filled = settings.filled(networks)
    extractors = (NETWORK.get(name, name) for name in filled.extractors or ())
    kinds = tuple(dict.fromkeys(("diffusion", *extractors, *proposal_networks(filled.proposals, networks.preset))))
    networks.prepare(kinds, generator=filled.generator)
    return networks.preset.companions(kinds)


def support_from(
    given: SupportSettings | Mapping[str, Any] | None, folder: str | os.PathLike[str] | None, networks: Networks
) -> SupportSettings:
    """The settings given; or those of an existing bank, else the defaults, with what a dictionary changes of them.

    Raises:
        InputError: the bank.json of the bank is damaged, or of another version; or an unknown setting or value.
    """
    if isinstance(given, SupportSettings):
        return given
    known = support_of(folder) or SupportSettings()
    generator = (given or {}).get("generator", known.generator)
    if generator != known.generator:
        known = replace(known, sampling=None)
    return changed(known, given or {}, "support", sampled_by(networks.preset, generator if generator in FEW_STEPS else None))


def support_of(folder: str | os.PathLike[str] | None) -> SupportSettings | None:
    """How an existing bank's words were made; None where there is no bank yet.

    Raises:
        InputError: its bank.json is damaged, or of another version.
    """
    if folder is None or not (Path(folder).expanduser() / "bank.json").exists():
        return None
    known = dict(Bank.open(folder).settings.get("support", {}))
    try:
        known["sampling"] = SamplingSettings(**known["sampling"])
        known["extractors"] = tuple(known["extractors"])
        return SupportSettings(**known)
    except (KeyError, TypeError) as error:
        raise InputError(f"the bank {os.fspath(folder)!r} was made by another version of segwright; make it anew") from error


def make_words(
    networks: Networks,
    bank: Bank,
    words: Sequence[str],
    settings: SupportSettings,
    stuff: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    proposer: Proposer | None = None,
) -> list[Entry]:
    """Bring words into the bank; those that it has are not made again.

    Args:
        stuff: which of the words are stuff (grass, sky), not things: noted beside words that are made, for whoever matches
            with the bank and does not say it anew.
        progress: called as (word, pictures done, pictures in all) for words that are made.
        proposer: any generator of proposals, in place of ``settings.proposals``: photos -> (R, h, w) bool each.

    Raises:
        InputError: a word too long for the prompt.
        OutputError: the bank cannot be written; it stays readable.
    """
    filled, drawn = settings.filled(networks), networks.generator(settings.generator)
    kinds = {word: "stuff" if word.casefold() in {s.casefold() for s in stuff} else "thing" for word in words}
    missing = []
    for word in kinds:
        entry = bank.get(word)
        if entry is None:
            places(drawn.diffusion, filled.prompt.format(word), word)
            missing.append(word)
    for word in missing:
        bank.clean(word)
        _make_pictures(drawn, bank.path(word), word, filled, progress)
        _make_prototypes(networks, bank.path(word), filled, proposer)
        bank.finish(word, kinds[word])
    return [entry for word in words if (entry := bank.get(word)) is not None]


def _make_pictures(networks: Networks, folder: Path, word: str, settings: SupportSettings, progress: Progress | None) -> None:
    for start in range(0, settings.pictures, settings.batch):
        numbers = range(start, min(start + settings.batch, settings.pictures))
        if not all(_is_made(folder, i) for i in numbers):
            seeds = [settings.seed * STEP + i for i in numbers]
            made, maps = sample(networks.diffusion, settings.prompt.format(word), seeds, settings.sampling, word)
            for i, picture, attribution in zip(numbers, made, maps if maps is not None else (), strict=True):
                _write_picture(folder, i, picture, attribution)
        if progress is not None:
            progress(word, numbers[-1] + 1, settings.pictures)


def _is_made(folder: Path, number: int) -> bool:
    picture, attribution = picture_path(folder, number), read_tensors(picture_path(folder, number).with_suffix(".safetensors"))
    try:
        with Pillow.open(picture) as image:
            image.load()
    except (OSError, ValueError):
        return False
    return attribution is not None and "attribution" in attribution


def _write_picture(folder: Path, number: int, picture: Tensor, attribution: Tensor) -> None:
    stream = io.BytesIO()
    pixels = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    Pillow.fromarray(pixels).save(stream, "PNG")
    path = picture_path(folder, number)
    atomic_write(path, synced(stream.getvalue()))
    write_tensors(path.with_suffix(".safetensors"), {"attribution": attribution})


def picture_path(folder: Path, number: int) -> Path:
    """Where a word keeps a support picture."""
    return folder / "pictures" / f"{number:03}.png"


def read_pictures(folder: Path, count: int) -> tuple[list[Image], Tensor]:
    """A word's support pictures, (S, S, 3) uint8 each, and their attribution maps, (N, 64, 64) in 0..1.

    Raises:
        InputError: one is missing or damaged.
    """
    pictures, maps = [], []
    for i in range(count):
        path = picture_path(folder, i)
        attribution = (read_tensors(path.with_suffix(".safetensors")) or {}).get("attribution")
        if not _is_made(folder, i) or attribution is None:
            raise InputError(f"{path} of the bank is missing, cut short or was edited; remove the word and make it again")
        with Pillow.open(path) as image:
            pictures.append(np.array(image.convert("RGB")))
        maps.append(attribution)
    return pictures, torch.stack(maps)


def _make_prototypes(networks: Networks, folder: Path, settings: SupportSettings, proposer: Proposer | None) -> None:
    pictures, maps = read_pictures(folder, settings.pictures)
    if settings.proposals == "attention" and proposer is None:
        masks = attribution_masks(maps)
    else:
        found = proposer(networks, pictures) if proposer is not None else propose(settings.proposals, networks, pictures)
        masks = proposal_masks(maps, found)
    write_tensors(folder / "masks.safetensors", dict(zip(SIDES, (m.to(torch.uint8) for m in masks), strict=True)))
    for name in settings.extractors or ():
        sides = dict(zip(SIDES, masks, strict=True))
        made = build_sides(_Extracted(name, networks, pictures), sides, settings.parts, settings.seed)
        tensors = {f"{side}.{key}": value for side, found in made.items() for key, value in vars(found).items()}
        write_tensors(folder / f"prototypes-{name}.safetensors", tensors)


@dataclass(frozen=True)
class _Extracted:
    """Support pictures' features, each made when it is asked for: SD 1.5 has 126 MB of them a picture."""

    name: str
    networks: Networks
    pictures: Sequence[Image]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return extract(self.name, self.networks, [self.pictures[index]], support=True)[0]


def read_word(bank: Bank, word: str, extractors: Sequence[str], device: torch.device | str = "cpu") -> WordPrototypes:
    """A finished word's prototypes.

    Raises:
        InputError: the bank lacks the word or the extractor, or its files are damaged.
    """
    entry = bank.get(word)
    if entry is None:
        raise InputError(
            f"the bank {str(bank.folder)!r} has no word {word!r}; make it with: segwright prototypes {word!r} -o {bank.folder}"
        )
    sides: dict[str, dict[str, Prototypes]] = {side: {} for side in SIDES}
    for name in extractors:
        file = f"prototypes-{name}.safetensors"
        if file not in entry.files:
            raise InputError(
                f"the bank {str(bank.folder)!r} was made without extractor {name!r}; leave it out, or make another bank"
            )
        tensors = {key: value.to(device) for key, value in bank.tensors(entry, file).items()}
        for side in SIDES:
            parts = [tensors.get(f"{side}.{key}") for key in ("vectors", "kinds", "sources", "cells")]
            if any(part is None for part in parts):
                raise InputError(f"{entry.folder / file} lacks tensors; remove the word from the bank and make it again")
            sides[side][name] = Prototypes(*(part for part in parts if part is not None))
    if not all(len(p.vectors) for p in sides["foreground"].values()):
        raise InputError(f"the support pictures of {word!r} show it nowhere; remove the word, or make it with more pictures")
    return WordPrototypes(entry, sides["foreground"], sides["background"])
