"""Cross-attention of a word (Fig. 3): while a picture is made of noise, and when a finished picture is noised once.

(a) generated: latents on the way of a picture's generation; (b) fed back: that picture encoded again and noised once;
(c) noised: the photo noised once; (d) inverted: the photo's noise by DDIM inversion, and generation from it. All four are
looked at with one pass under the prompt, at the same timesteps, so that only the latents differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segwright.diagnosis.report import Plot, Section, Series, Shot, heat, heat_over, table, to_picture
from segwright.diagnosis.statistics import above, correlation, entropy, found, mask_iou, resized
from segwright.diagnosis.subject import DiagnoseSettings, Subject, lost
from segwright.files.html import enlarged
from segwright.methods.clip_es import BACKGROUND_25
from segwright.methods.diffsegmenter import word_map
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.methods.segmenter import background_words
from segwright.models.attention import Recorder, attached
from segwright.models.ddim import generate, invert
from segwright.models.diffusion import Diffusion, Embedding
from segwright.models.sites import find_sites
from segwright.models.tokens import word_places
from segwright.types import Image
from segwright.weights import Networks

CASES = {"a": "generated", "b": "generated, noised once", "c": "photo, noised once", "d": "photo, inverted"}
MEAN = "mean of the output blocks"
SHOWN = 130  # pixels of a map
SMALLEST = 0.01  # share of the picture below which a stand-in mask counts as nothing found
Latents = Callable[[int], Tensor]
Maps = dict[str, Tensor]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cases:
    """Where the latents of each case come from.

    Attributes:
        latents: case -> timestep -> (B, 4, h, w).
        pictures: the generated ones, (H, W, 3) uint8.
        embedding: B prompts.
    """

    latents: Mapping[str, Latents]
    pictures: tuple[Image, ...]
    embedding: Embedding


@torch.no_grad()
def make_cases(networks: Networks, subjects: Sequence[Subject], settings: DiagnoseSettings, seeds: Sequence[int]) -> Cases:
    """Generate a picture from each prompt, encode it again, noise and invert the photos.

    Args:
        seeds: of the generated pictures' noise, one each.
    """
    diffusion, sampling = networks.diffusion, networks.preset.sampling
    embedding = diffusion.embed([s.prompt for s in subjects])
    negative = diffusion.embed([settings.negative] * len(subjects))
    guidance = sampling.guidance if settings.guidance is None else settings.guidance
    clean = diffusion.encode(diffusion.pixels([s.image for s in subjects]))
    start = torch.cat([_noise(clean[:1], seed) for seed in seeds])
    made = generate(diffusion, start, embedding, settings.steps, guidance, negative=negative)
    pictures = tuple(to_picture(p) for one in made.at(0).split(1) for p in diffusion.decode(one))
    again = diffusion.encode(diffusion.pixels(pictures))
    top = invert(diffusion, clean, embedding, settings.steps, settings.rounds).latents[-1]
    back = generate(diffusion, top, embedding, settings.steps)
    latents: dict[str, Latents] = {
        "a": made.at,
        "b": lambda t: diffusion.noise(again, t, settings.seed),
        "c": lambda t: diffusion.noise(clean, t, settings.seed),
        "d": back.at,
    }
    return Cases(latents, pictures, embedding)


def _noise(like: Tensor, seed: int) -> Tensor:
    """Drawn on the CPU so that every device gets the same."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)


@torch.no_grad()
def attention(diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding) -> Maps:
    """Every cross-attention layer's map in one pass, (B, cells, tokens) float32, mean over heads."""
    maps: Maps = {}

    def keep(name: str, weights: Tensor) -> None:
        maps[name] = weights.float()

    sites = [s for s in find_sites(diffusion.unet) if s.kind == "cross"]
    recorders: dict[nn.Module, Recorder] = {s.module: Recorder(partial(keep, s.name)) for s in sites}
    with attached(recorders):
        diffusion.predict(latents, timestep, embedding)
    return maps


def word_layers(maps: Maps, row: int, places: tuple[int, ...]) -> Maps:
    """layer -> (n, n), a word's map in one picture; and ``MEAN``: those of the output blocks at the finest size, averaged."""
    layers = {name: word_map(weights[row], places) for name, weights in maps.items()}
    output = [m for name, m in layers.items() if name.startswith("up_")]
    finest = max(len(m) for m in output)
    return layers | {MEAN: torch.stack([resized(m, finest) for m in output]).mean(0)}


def by_size(layers: Maps) -> Maps:
    """The output blocks' maps averaged by their size (Fig. 3, second rows): "16 x 16" -> (16, 16)."""
    output = [m for name, m in layers.items() if name.startswith("up_")]
    sizes = sorted({len(m) for m in output})
    return {f"{n} x {n}": torch.stack([m for m in output if len(m) == n]).mean(0) for n in sizes}


def alike(first: Maps, second: Maps, threshold: float) -> dict[str, dict[str, float]]:
    """layer -> correlation and IoU of the thresholded maps."""
    return {
        name: {"correlation": correlation(m, second[name]), "iou": mask_iou(above(m, threshold), above(second[name], threshold))}
        for name, m in first.items()
    }


def measure(
    networks: Networks, subjects: Sequence[Subject], settings: DiagnoseSettings, seeds: Sequence[int]
) -> list[list[dict[str, Any]]]:
    """For each subject a list of records, one a word: every comparison at every timestep, and how well maps find the word.

    In a generated picture a stand-in says where the word is (``stand_ins``). The same stand-in is held against the photo's
    truth, to say how good it is.
    """
    cases = make_cases(networks, subjects, settings, seeds)
    seen = {case: {t: attention(networks.diffusion, at(t), t, cases.embedding) for t in settings.timesteps}
            for case, at in cases.latents.items()}  # fmt: skip
    records: list[list[dict[str, Any]]] = []
    for row, subject in enumerate(subjects):
        masks = stand_ins(networks, cases.pictures[row], subject.words)
        own = stand_ins(networks, subject.image, subject.words)
        records.append([])
        gone = lost(networks, subject.prompt, subject.words)  # of a crowded photo
        for word in (w for w in subject.words if w not in gone):
            places = word_places(networks.diffusion.tokenizers[0], subject.prompt, word)
            maps = {case: {t: word_layers(m, row, places) for t, m in times.items()} for case, times in seen.items()}
            records[-1].append(_record(maps, word, masks[word], subject, own[word], settings=settings))
    return records


def _record(
    maps: dict[str, dict[int, Maps]], word: str, mask: Mask, subject: Subject, own: Mask, *, settings: DiagnoseSettings
) -> dict[str, Any]:
    times, threshold = settings.timesteps, settings.attention_threshold
    last = maps["a"][times[0]]
    record: dict[str, Any] = {"word": word, "prompt": subject.prompt, "area": float(mask.mean())}
    record["last"] = {str(t): alike(last, maps["b"][t], threshold) for t in times}
    record["same"] = {str(t): alike(maps["a"][t], maps["b"][t], threshold) for t in times}
    truth = subject.masks.get(word)
    places = {"a": mask, "b": mask, "c": truth, "d": truth}
    for case, where in places.items():
        for t in times:
            values = maps[case][t][MEAN]
            quality = (float("nan"),) * 2 if where is None else found(values, where, threshold)
            record[f"{case}@{t}"] = {"auc": quality[0], "iou": quality[1], "entropy": entropy(values)}
    if truth is not None:
        record["stand_in_iou"] = float((own & truth).sum() / max(1, (own | truth).sum()))
    return record


def stand_ins(networks: Networks, image: Image, words: Sequence[str]) -> dict[str, Mask]:
    """word -> (H, W) bool where FreeSeg-Diff without diffusion sees it: regions of CLIP's own features, named by CLIP among
    the words and background words, and a CRF. Nothing of the U-Net goes into it."""
    vocabulary = [*words, *background_words(None, networks, BACKGROUND_25, words)]
    settings = FreeSegDiffSettings(backbone="clip", candidates="none", refine="crf")
    result = FreeSegDiff(networks, settings)(image, vocabulary)
    return {word: result.mask(word) for word in words}


def section(networks: Networks, subject: Subject, settings: DiagnoseSettings) -> Section:
    """Fig. 3 for one photo, with what was measured on it."""
    cases = make_cases(networks, [subject], settings, [settings.seed])
    first = settings.timesteps[0]
    parts: list[str | Shot | Plot] = [
        f"<p>Prompt: <q>{escape(subject.prompt)}</q>. Cross-attention of a word, mean over heads; (a) while a picture is made of "
        f"noise, (b) that picture noised once and fed back, (c) the photo noised once, (d) the photo after DDIM inversion. All at "
        f"timestep {first}, the last one of {settings.steps} steps of generation. Each map is stretched to its own range.</p>",
        Shot("photo", enlarged(subject.image, 220), "photo"),
        Shot("generated", enlarged(cases.pictures[0], 220), "generated from the prompt"),
    ]
    passes = {
        case: {t: attention(networks.diffusion, at(t), t, cases.embedding) for t in settings.timesteps}
        for case, at in cases.latents.items()
    }
    for word in subject.words:
        places = word_places(networks.diffusion.tokenizers[0], subject.prompt, word)
        maps = {case: {t: word_layers(m, 0, places) for t, m in times.items()} for case, times in passes.items()}
        parts.append(f"<h3>{escape(word)}</h3>")
        for case, title in CASES.items():
            image = cases.pictures[0] if case in "ab" else subject.image
            parts += [f"<h4>({case}) {title}</h4>", *_shots(maps[case][first], f"{word}-{case}", image)]
        parts += _figures(maps, word, settings)
    return Section("attention", "Diffusion: cross-attention (Fig. 3)", tuple(parts))


def _shots(layers: Maps, name: str, image: Image) -> list[str | Shot]:
    """One row of layers, one of averages."""
    single = [
        Shot(f"{name}-{layer}", heat(m, SHOWN), f"{short(layer)}, {len(m)} x {len(m)}")
        for layer, m in layers.items()
        if layer.startswith("up_")
    ]
    sizes = [Shot(f"{name}-mean-{len(m)}", heat(m, SHOWN), f"mean of {size}") for size, m in by_size(layers).items()]
    over = Shot(f"{name}-mean", heat_over(image, layers[MEAN], SHOWN), MEAN)
    return ["<div>", *single, "</div><div>", *sizes, over, "</div>"]


def short(layer: str) -> str:
    """ "up_blocks.1.attentions.0.transformer_blocks.0.attn2" -> "up 1.0"."""
    return layer.split(".transformer_blocks")[0].replace("_blocks.", " ").replace(".attentions", "").replace("_block", "")


def _figures(maps: dict[str, dict[int, Maps]], word: str, settings: DiagnoseSettings) -> list[str | Shot | Plot]:
    """Degradation of (b) against (a), by layer and timestep."""
    times, threshold = settings.timesteps, settings.attention_threshold
    by_time = {t: alike(maps["a"][t], maps["b"][t], threshold) for t in times}
    last = {t: alike(maps["a"][times[0]], maps["b"][t], threshold) for t in times}
    rows = [
        [short(layer), *(f"{by_time[t][layer]['correlation']:.2f} / {by_time[t][layer]['iou']:.2f}" for t in times)]
        for layer in maps["a"][times[0]]
    ]
    series: Series = {
        "same timestep": [(t, by_time[t][MEAN]["correlation"]) for t in times],
        "(a) at its last step": [(t, last[t][MEAN]["correlation"]) for t in times],
    }
    blur: Series = {title: [(t, entropy(maps[case][t][MEAN])) for t in times] for case, title in CASES.items()}
    return [
        f"<p>(b) against (a) at the same timestep: correlation / IoU of the maps above {threshold:g} of their range.</p>",
        table(["layer", *(f"t = {t}" for t in times)], rows),
        Plot(f"{word}-correlation", f"{word}: correlation of (b) with (a), {MEAN}", "timestep", "correlation", series),
        Plot(f"{word}-blur", f"{word}: blur (entropy of the map), {MEAN}", "timestep", "entropy", blur),
    ]


def usable(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose stand-in is more than a speck."""
    return [r for r in records if r["area"] >= SMALLEST]
