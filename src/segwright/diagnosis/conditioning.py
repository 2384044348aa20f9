"""Table 1's axes on methods without training: the U-Net's prompt, whose features are clustered, noise or none.

The regions of each variant are measured as they are (best match with the truth) and after FreeSeg-Diff has named them.
ODISE's implicit captioner and Mask2Former are trained; a caption of the photo, or its true words, stand for the former here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segwright.diagnosis.features import balanced
from segwright.diagnosis.report import Section, Shot, table
from segwright.diagnosis.statistics import silhouette
from segwright.diagnosis.subject import DiagnoseSettings, Subject, Truth, listing
from segwright.files.html import colour_regions, enlarged
from segwright.files.overlay import overlay
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.metrics import Matrix, best_match_iou, confusion, miou
from segwright.models.vae_features import vae_features
from segwright.types import Image, Segmentation
from segwright.weights import Networks
from segwright.words.presence import Chosen

PROMPTS = {"empty": "empty prompt", "caption": "caption", "words": "true words"}
PARTS = {"unet": "U-Net", "vae": "VAE", "both": "U-Net and VAE"}
TIMESTEP = 100  # at 0, ODISE's own, noise is too little to make a difference
SHOWN = 220  # pixels


@dataclass(frozen=True)
class Variant:
    """A cell of the table.

    Attributes:
        prompt: one of ``PROMPTS``; the autoencoder does not read it.
        features: one of ``PARTS``.
        noise: whether the latents are noised to ``timestep``.
    """

    prompt: str
    features: str
    noise: bool
    timestep: int = TIMESTEP

    @property
    def name(self) -> str:
        if self.features == "vae":
            return PARTS["vae"]
        noise = "noise" if self.noise else "no noise"
        return f"{PARTS[self.features]}, {PROMPTS[self.prompt]}, {noise}, t = {self.timestep}"


VARIANTS = (
    *(Variant(p, "unet", noise) for noise in (True, False) for p in PROMPTS),
    Variant("empty", "vae", False),
    *(Variant(p, "both", True) for p in PROMPTS),
    Variant("empty", "both", False),
    *(Variant(p, "unet", True, 0) for p in ("empty", "words")),
)


@dataclass(frozen=True)
class Conditioned(FreeSegDiff):
    """FreeSeg-Diff with the features of a variant, for photos whose words are chosen already.

    Attributes:
        prompts: the U-Net's, one a photo.
        picked: the words of each photo.
    """

    variant: Variant = VARIANTS[0]
    prompts: tuple[str, ...] = ()
    picked: tuple[Chosen, ...] = ()

    def choose(self, images: Sequence[Image], vocabulary: tuple[str, ...] | None) -> list[Chosen]:
        """As picked."""
        return list(self.picked)

    def features(self, images: Sequence[Image], chosen: Sequence[Chosen]) -> Tensor:
        """(B, C, h, w)."""
        return variant_features(self.networks, images, self.prompts, self.variant, self.settings.seed)


def variant_features(networks: Networks, images: Sequence[Image], prompts: Sequence[str], variant: Variant, seed: int) -> Tensor:
    """(B, C, cells, cells) float32."""
    diffusion = networks.diffusion
    settings = replace(networks.preset.features, timestep=variant.timestep, noise=variant.noise)
    seen, parts = diffusion.pixels(images), []
    if variant.features != "vae":
        parts.append(diffusion.features(seen, settings, list(prompts), seed))
    if variant.features != "unet":
        rows = [balanced(vae_features(diffusion, one, settings.size)) for one in seen.split(1)]
        parts.append(torch.cat(rows))
    return parts[0] if len(parts) == 1 else balanced(parts)


def texts(subject: Subject) -> dict[str, str]:
    """The U-Net's prompt under each of ``PROMPTS``."""
    return {"empty": "", "caption": subject.caption, "words": f"a photo of {listing(subject.words)}"}


def run(
    networks: Networks, subjects: Sequence[Subject], words: Sequence[str], settings: DiagnoseSettings
) -> Iterator[tuple[Variant, list[tuple[Truth, float, Segmentation]]]]:
    """For each variant and photo: regions (H, W), their silhouette on cells, FreeSeg-Diff's result without refinement."""
    images, texts_of = [s.image for s in subjects], [texts(s) for s in subjects]
    own = FreeSegDiffSettings(clusters=settings.clusters[0], refine=None, seed=settings.seed)
    picked = tuple(FreeSegDiff(networks, own).choose(images, tuple(words)))
    for variant in VARIANTS:
        method = Conditioned(networks, own, variant=variant, prompts=tuple(t[variant.prompt] for t in texts_of), picked=picked)
        steps = method.steps(images, list(words))
        yield (
            variant,
            [(s.regions.cpu().numpy(), silhouette(s.features, s.clustering.regions.labels), method.finish(s)) for s in steps],
        )


def measure(
    networks: Networks, subjects: Sequence[Subject], words: Sequence[str], truths: Sequence[Truth], settings: DiagnoseSettings
) -> list[dict[str, Any]]:
    """For each photo variant -> best-match mIoU, silhouette, and the confusion matrix of the named result (its cells but 0).

    Args:
        words: the data set's; label i + 1 of a truth is words[i].
    """
    records: list[dict[str, Any]] = [{} for _ in subjects]
    for variant, found in run(networks, subjects, words, settings):
        for record, truth, (regions, apart, result) in zip(records, truths, found, strict=True):
            matrix = confusion(truth, result.labels.astype(np.int64), len(words) + 1)
            cells = [[int(r), int(c), int(matrix[r, c])] for r, c in zip(*np.nonzero(matrix), strict=True)]
            matched = float(np.mean(best_match_iou(truth, regions)))
            record[variant.name] = {"match": matched, "silhouette": apart, "cells": cells}
    return records


def dataset_miou(records: Sequence[dict[str, Any]], row: str, classes: int) -> float:
    """Dataset-level mIoU of one variant, background among the ``classes``."""
    total: Matrix = np.zeros((classes, classes), np.int64)
    for record in records:
        for r, c, n in record[row]["cells"]:
            total[r, c] += n
    return miou(total)


def section(networks: Networks, subject: Subject, settings: DiagnoseSettings) -> Section:
    """The variants on one photo."""
    texts_of = texts(subject)
    parts: list[str | Shot] = [
        "<p>Regions (k-means, K = "
        f"{settings.clusters[0]}) and what FreeSeg-Diff calls them, without refinement. Caption: "
        f"<q>{escape(texts_of['caption'])}</q>; "
        f"true words: <q>{escape(texts_of['words'])}</q>.</p>",
        Shot("photo", enlarged(subject.image, SHOWN), "photo"),
    ]
    rows: list[list[object]] = []
    for i, (variant, ((regions, apart, result),)) in enumerate(run(networks, [subject], subject.words, settings)):
        matched = float("nan") if subject.truth is None else float(np.mean(best_match_iou(subject.truth, regions)))
        rows.append([variant.name, apart, matched, ", ".join(result.found) or "nothing"])
        parts.append(f'<div style="display: inline-block"><h4>{escape(variant.name)}</h4>')
        parts.append(Shot(f"{i:02d}-regions", enlarged(colour_regions(regions), SHOWN), "regions"))
        parts.append(
            Shot(
                f"{i:02d}-named",
                enlarged(overlay(subject.image, result, legend=False), SHOWN),
                ", ".join(result.found) or "nothing",
            )
        )
        parts.append("</div>")
    head = ["variant", "silhouette", "best-match mIoU", "words found"]
    return Section("conditioning", "Conditioning and features (Table 1's axes)", (*parts, table(head, rows)))
