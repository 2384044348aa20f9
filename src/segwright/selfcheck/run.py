"""Run the examination: the machine, each network, then each method on pictures whose main thing is known."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.errors import InputError, SegwrightError
from segwright.fetching import needs
from segwright.files.record import versions
from segwright.methods import DEFAULT, METHODS, find_method
from segwright.methods.base import Method
from segwright.selfcheck.pictures import drawn, photographs
from segwright.selfcheck.tensors import modules, strangers
from segwright.types import Image
from segwright.weights import Networks, load

# Expectations; ours. On the drawn scenes they were set below what preset mini reaches; on photographs with weights of real
# size they could not be tried when this was written, and say "this is not nonsense", not "this is as good as published".
IOU = 0.25  # of the main thing's mask, mean over the pictures
NAMED = 0.5  # share of captions that name the main thing
POINTS = 0.6  # probability that a pixel of the thing has more cross-attention of its word than one outside; 0.5: chance
BASE = DEFAULT  # methods that need no more networks than this one are examined unless others are named


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``good`` None: a fact without expectation."""

    topic: str
    what: str
    found: str
    expected: str = ""
    good: bool | None = None


def examine(
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    methods: Sequence[str] | None = None,
    pictures: int = 8,
    *,
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    diffusion: str | None = None,
) -> Iterator[Finding]:
    """Examine a preset; findings come as they are made.

    Args:
        methods: as for ``segwright.methods.find_method``; None: all but OVDiff that need no more networks than FreeSeg-Diff.
        pictures: how many of the eight.
        clip: another CLIP, as for ``segwright.load``.
        captioner: another captioner, likewise.
        vit: another ViT, likewise.
        diffusion: another diffusion model, likewise.

    Raises:
        InputError: unknown method, or no picture.
        WeightsError: weights that cannot be had.
    """
    networks = load(preset, device, dtype, clip=clip, captioner=captioner, vit=vit, diffusion=diffusion)
    base = set(needs(BASE, networks.preset))
    quick = (m for m in METHODS if find_method(m).prepare is Method.prepare)  # the others draw pictures of each word first
    light = (m for m in quick if set(needs(m, networks.preset)) <= base)
    chosen = tuple(light) if methods is None else tuple(methods)
    for name in chosen:
        find_method(name)
    if not 1 <= pictures <= 8:
        raise InputError(f"pictures must be 1..8, got {pictures}")
    names = tuple(dict.fromkeys(name for method in (BASE, *chosen) for name in needs(method, networks.preset)))
    networks.prepare(names, verify=True)
    yield from _machine(networks)
    for name in names:
        yield from _network(networks, name)
    yield from _fit(networks)
    shown = _shown(networks)[:pictures]
    yield from _captions(networks, shown)
    yield from _pointing(networks, shown)
    for method in chosen:
        yield _method(networks, method, shown)


@dataclass(frozen=True)
class Shown:
    name: str
    image: Image
    mask: NDArray[np.bool_]
    word: str
    others: tuple[str, ...]
    names: tuple[str, ...]


def _shown(networks: Networks) -> list[Shown]:
    """Drawn scenes for the miniature world, photographs for the others."""
    if networks.preset.name == "mini":
        return [Shown(*row, names=(row[3],)) for row in drawn()]
    return [Shown(*row) for row in photographs()]


def _machine(networks: Networks) -> Iterator[Finding]:
    topic = "machine"
    yield Finding(topic, "versions", ", ".join(f"{k} {v}" for k, v in versions().items()) + f", Python {platform.python_version()}")
    device = torch.cuda.get_device_name(networks.device) if networks.device.type == "cuda" else platform.processor()
    yield Finding(topic, "device", f"{networks.device} ({device or platform.machine()}), {torch.get_num_threads()} threads")
    yield Finding(topic, "precision", str(networks.dtype).removeprefix("torch."))
    yield Finding(topic, "preset", f"{networks.preset.name}, {networks.preset.image_size} px")


def _network(networks: Networks, name: str) -> Iterator[Finding]:
    began, before = time.monotonic(), _memory()
    opened = getattr(networks, name)
    took, grown = time.monotonic() - began, _memory() - before
    folder = networks.folder(name)
    size = sum(p.numel() for network in modules(opened).values() for p in network.parameters())
    yield Finding(name, "weights", networks.identity(name))
    yield Finding(name, "loaded", f"{size / 1e6:.1f} million numbers in {took:.1f} s, {max(0, grown) / 1e9:.2f} GB more memory")
    count, strange = strangers(opened, folder) if name != "diffusion" else _diffusion_strangers(opened, folder)
    yield Finding(
        name,
        "tensors from files",
        f"{count - len(strange)} of {count}" + (f"; first stranger {strange[0]}" if strange else ""),
        "all",
        not strange,
    )


def _diffusion_strangers(opened: Any, folder: Path) -> tuple[int, list[str]]:
    """In a folder preset other networks lie beside; only the diffusion model's own folders count."""
    count, strange = 0, []
    numbers = {"unet": opened.unet, "vae": opened.vae}
    numbers |= {f"text_encoder{'_2' if i else ''}": e for i, e in enumerate(opened.text_encoders)}
    for part, network in numbers.items():
        found, odd = strangers(network, folder / part)
        count += found
        strange += [f"{part} {name}" for name in odd]
    return count, strange


def _fit(networks: Networks) -> Iterator[Finding]:
    """Sizes, schedule and tokenizers against what the preset expects."""
    diffusion = networks.diffusion
    side, wanted = diffusion.image_size, networks.preset.image_size
    yield Finding("diffusion", "image size", f"{side} px", f"{wanted} px", side == wanted)
    alphas = diffusion.alphas.float()
    falls = bool((alphas[1:] < alphas[:-1]).all()) and float(alphas[-1]) < 0.05
    signal = f"{len(alphas)} steps, signal {float(alphas[0]):.4f} to {float(alphas[-1]):.4f}"
    yield Finding("diffusion", "noise schedule", signal, "falls to below 0.05", falls)
    for i, tokenizer in enumerate(diffusion.tokenizers):
        ids = tokenizer("a photo of a cat").input_ids
        known = len(set(ids)) >= 3 and tokenizer.unk_token_id not in ids[1:-1]
        yield Finding("diffusion", f"tokenizer{'_2' if i else ''}", f"{len(tokenizer)} tokens; {ids}", "knows its words", known)


def _captions(networks: Networks, shown: Sequence[Shown]) -> Iterator[Finding]:
    began = time.monotonic()
    captions = networks.captioner.caption([s.image for s in shown])
    seconds = (time.monotonic() - began) / len(shown)
    named = [any(name in text.lower() for name in s.names) for s, text in zip(shown, captions, strict=True)]
    for s, text, good in zip(shown, captions, named, strict=True):
        yield Finding(
            "captions", s.name, f"{text!r}, which names {s.word}" if good else f"{text!r}, where {s.word} was to be named"
        )
    share = sum(named) / len(named)
    yield Finding(
        "captions", "name the main thing", f"{share:.0%} ({seconds:.1f} s a picture)", f"{NAMED:.0%} or more", share >= NAMED
    )


def _pointing(networks: Networks, shown: Sequence[Shown]) -> Iterator[Finding]:
    """Cross-attention of the thing's word, as DiffSegmenter takes it: is it stronger on the thing than beside it?"""
    method = find_method("diffsegmenter").on(networks, candidates="none", refine=None)
    values = []
    for s in shown:
        scores = method(s.image, [s.word, *s.others]).scores
        row = scores.labels.index(1) if scores is not None and 1 in scores.labels else None
        values.append(0.5 if row is None or scores is None else _auc(scores.values[row].cpu().numpy(), s.mask))
    mean = float(np.mean(values))
    each = ", ".join(f"{s.name} {v:.2f}" for s, v in zip(shown, values, strict=True))
    yield Finding(
        "cross-attention", "points at the thing", f"{mean:.2f} ({each})", f"{POINTS} or more; 0.5 is chance", mean >= POINTS
    )


def _auc(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Probability that a pixel of the mask has the higher value than one outside (ties count half)."""
    from scipy.stats import rankdata

    inside, outside = int(mask.sum()), int((~mask).sum())
    ranks = rankdata(values.ravel())[mask.ravel()].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def _method(networks: Networks, name: str, shown: Sequence[Shown]) -> Finding:
    kind, values = find_method(name), []
    began = time.monotonic()
    try:
        method = kind.on(_own(networks, kind))
        for s in shown:
            found = method(s.image, [s.word, *s.others]).labels == 1
            values.append(float((found & s.mask).sum() / max(1, (found | s.mask).sum())))
    except SegwrightError as error:
        return Finding("methods", name, f"could not run: {error}", "runs", False)
    seconds = (time.monotonic() - began) / len(shown)
    mean = float(np.mean(values))
    each = ", ".join(f"{s.name} {v:.2f}" for s, v in zip(shown, values, strict=True))
    text = f"IoU {mean:.2f} ({each}), {seconds:.1f} s a picture"
    if networks.preset.name in find_method(name).weak_with:
        return Finding("methods", name, text)
    return Finding("methods", name, text, f"IoU {IOU} or more", mean >= IOU)


def _own(networks: Networks, kind: type[Method]) -> Networks:
    """The same networks, loaded once; the method's own where it wants others of the preset."""
    dtype = str(networks.dtype).removeprefix("torch.")
    own = kind.open_networks(networks.preset.name, str(networks.device), dtype)
    return networks if own.swapped == networks.swapped else own


def _memory() -> int:
    """Resident bytes of this process now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings ready for JSON."""
    return [asdict(finding) for finding in findings]
