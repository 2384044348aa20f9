"""K-means pictures of U-Net features (Fig. 4) of a photo noised once, not noised, and on its way through DDIM inversion.

"We use the average feature across the last 6 blocks": their channels differ in number, so here the squared distances of
the blocks are averaged, each block first scaled to unit variance over the photo; k-means on the joined blocks does just that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segwright.diagnosis.report import Plot, Section, Series, Shot, table
from segwright.diagnosis.statistics import silhouette
from segwright.diagnosis.subject import DiagnoseSettings, Subject
from segwright.files.html import colour_regions, enlarged
from segwright.metrics import best_match_iou
from segwright.models.ddim import invert
from segwright.models.diffusion import Diffusion, Embedding, FeatureSettings
from segwright.models.sites import RESOLUTIONS, find_sites
from segwright.regions.kmeans import Clustering, kmeans
from segwright.weights import Networks

SOURCES = {"noise": "noised once", "clean": "no noise", "inversion": "DDIM inversion"}
RESTARTS = 5
SHOWN = 150  # pixels


def last_blocks(diffusion: Diffusion, settings: DiagnoseSettings) -> FeatureSettings:
    """The last residual blocks of the U-Net's output half."""
    names = [s.name for s in find_sites(diffusion.unet) if s.kind == "resblock" and s.layer == "up"]
    return FeatureSettings("resblock", RESOLUTIONS, ("up",), size=settings.cells, blocks=tuple(names[-settings.blocks :]))


def balanced(parts: Sequence[Tensor]) -> Tensor:
    """(B, C_i, h, w) each -> joined (B, sum of C_i, h, w), every part centred and scaled to unit total variance a photo."""
    out = []
    for part in parts:
        centred = part - part.mean((2, 3), keepdim=True)
        out.append(centred / centred.square().sum(1, keepdim=True).mean((2, 3), keepdim=True).sqrt().clamp(min=1e-12))
    return torch.cat(out, 1)


@torch.no_grad()
def take(diffusion: Diffusion, latents: Tensor, timestep: int, embedding: Embedding, blocks: FeatureSettings) -> Tensor:
    """(B, C, cells, cells) float32 in one pass over latents as they are."""
    return balanced(list(diffusion.maps(latents, embedding, replace(blocks, timestep=timestep)).values()))


def sources(
    diffusion: Diffusion, clean: Tensor, embedding: Embedding, settings: DiagnoseSettings
) -> dict[str, Callable[[int], Tensor]]:
    """Where the latents at a timestep come from."""
    path = invert(diffusion, clean, embedding, settings.steps, settings.rounds)
    return {"noise": lambda t: diffusion.noise(clean, t, settings.seed), "clean": lambda _: clean, "inversion": path.at}


def _clustered(
    diffusion: Diffusion, subjects: Sequence[Subject], settings: DiagnoseSettings
) -> dict[tuple[str, int, int], list[tuple[Clustering, float]]]:
    """(source, timestep, K) -> for each photo its clusters and their silhouette, under the empty prompt."""
    clean = diffusion.encode(diffusion.pixels([s.image for s in subjects]))
    embedding = diffusion.embed([""] * len(subjects))
    blocks, found = last_blocks(diffusion, settings), {}
    for source, at in sources(diffusion, clean, embedding, settings).items():
        for t in settings.timesteps:
            seen = take(diffusion, at(t), t, embedding, blocks)
            for k in settings.clusters if t == sweep_at(settings) else settings.clusters[:1]:
                made = kmeans(seen, k, RESTARTS, seed=settings.seed)
                found[source, t, k] = [(c, silhouette(f, c.regions.labels)) for f, c in zip(seen, made, strict=True)]
    return found


def sweep_at(settings: DiagnoseSettings) -> int:
    """The timestep at which every K is tried: the second, or the only one."""
    return settings.timesteps[min(1, len(settings.timesteps) - 1)]


def match(subject: Subject, clustering: Clustering) -> float:
    """Best-match mIoU: each true segment against its one region; NaN without a truth."""
    if subject.truth is None:
        return float("nan")
    labels = clustering.nearest((subject.truth.shape[0], subject.truth.shape[1])).labels.cpu().numpy()
    return float(np.mean(best_match_iou(subject.truth, labels)))


def measure(networks: Networks, subjects: Sequence[Subject], settings: DiagnoseSettings) -> list[dict[str, Any]]:
    """For each photo "source@timestep@K" -> silhouette and best-match mIoU."""
    records: list[dict[str, Any]] = [{} for _ in subjects]
    for (source, t, k), made in _clustered(networks.diffusion, subjects, settings).items():
        for record, subject, (clustering, apart) in zip(records, subjects, made, strict=True):
            record[f"{source}@{t}@{k}"] = {"silhouette": apart, "match": match(subject, clustering)}
    return records


def section(networks: Networks, subject: Subject, settings: DiagnoseSettings) -> Section:
    """Fig. 4 for one photo."""
    found = {key: made[0] for key, made in _clustered(networks.diffusion, [subject], settings).items()}
    blocks = last_blocks(networks.diffusion, settings).blocks
    parts: list[str | Shot | Plot] = [
        f"<p>K-means of the last {len(blocks)} residual blocks of the U-Net's output half, empty prompt, "
        f"K = {settings.clusters[0]} and others; silhouette in brackets. "
        f"The photo is noised once, not noised, or followed along its DDIM inversion.</p>",
        Shot("photo", enlarged(subject.image, SHOWN), "photo"),
    ]
    rows: list[list[object]] = []
    for source, title in SOURCES.items():
        parts.append(f"<h3>{title}</h3>")
        for (own, t, k), (clustering, apart) in sorted(found.items(), key=lambda item: item[0][2] != settings.clusters[0]):
            if own == source:
                rows.append([title, t, k, apart, match(subject, clustering)])
                parts.append(_shot(clustering, f"{source}-t{t}-k{k}", f"t = {t}, K = {k} ({apart:.2f})"))
    series: Series = {
        title: [(t, found[source, t, settings.clusters[0]][1]) for t in settings.timesteps] for source, title in SOURCES.items()
    }
    plot = Plot("silhouette", "Silhouette of the clusters", "timestep", "silhouette", series)
    head = ["latents", "timestep", "K", "silhouette", "best-match mIoU"]
    return Section("features", "Diffusion: k-means of features (Fig. 4)", (*parts, plot, table(head, rows)))


def _shot(clustering: Clustering, name: str, caption: str) -> Shot:
    return Shot(name, enlarged(colour_regions(clustering.regions.labels.cpu().numpy()), SHOWN), caption)


def mean(records: Sequence[Mapping[str, Any]], key: str, what: str) -> float:
    """Mean over photos of one figure; NaN where there is none."""
    values = np.array([r[key][what] for r in records], float)
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
