"""The model card's figures: how well each miniature network does its part on scenes that it was not trained on.

What methods reach with the preset is measured by ``segwright evaluate`` and ``segwright table``, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from segwright.errors import InputError
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.metrics import best_match_iou
from segwright.mini import probes
from segwright.mini.scenes import SIZE, STUFF, THINGS
from segwright.mini.train.tokens import BACKGROUND_WORDS
from segwright.mini.voc import CLUTTER, Shipped, read_scenes
from segwright.models.clip_dense import dense_features
from segwright.models.diffusion import FeatureSettings
from segwright.models.tokens import word_places
from segwright.presets import preset_folder
from segwright.regions.kmeans import kmeans
from segwright.types import Image
from segwright.weights import Networks, load
from segwright.words.nouns import keywords

POINTING_TIMESTEP = 100  # best of 100 .. 500 on training scenes of the first world
POINTING_RESOLUTION = 32  # 16x16 cells of the 32x32 latent
SEEDS = 8  # generated pictures a word
GUIDANCE, STEPS = 3.0, 30
BATCH = 8
DRAWS = 1000  # bootstrap samples of scenes

# A row's values scene by scene: (sum, count) pairs, so that an interval over scenes can be drawn.
Counts = dict[str, list[tuple[float, float]]]


def batches(count: int) -> list[slice]:
    return [slice(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]


def _named(networks: Networks, images: list[Image], masks: list[NDArray[np.bool_]], texts: Sequence[str]) -> NDArray[np.int64]:
    """The nearest text's place for each masked picture."""
    vectors = networks.clip.embed_masked(images, [torch.from_numpy(m)[None] for m in masks])
    return (torch.cat(vectors) @ networks.clip.embed_texts(texts).T).argmax(1).cpu().numpy()


def _by_scene(scenes: NDArray[np.int64], values: NDArray[Any], count: int) -> list[tuple[float, float]]:
    sums, counts = np.bincount(scenes, values.astype(float), count), np.bincount(scenes, minlength=count)
    return [(float(s), float(c)) for s, c in zip(sums, counts, strict=True)]


def clip_rows(networks: Networks, scenes: Shipped) -> Counts:
    """Names of true masks, of fragments that hold at least half of one thing, and of pure ground and clutter."""
    true: list[tuple[int, NDArray[np.bool_], int]] = []
    parts: list[tuple[int, NDArray[np.bool_], int]] = []
    ground: list[tuple[int, NDArray[np.bool_], int]] = []
    for k, (truth, cut, objects) in enumerate(zip(scenes.truths, unet_regions(networks, scenes), scenes.objects, strict=True)):
        areas = np.bincount(truth.ravel(), minlength=len(THINGS) + 1)
        there = (np.flatnonzero(areas[1:]) + 1).tolist()
        true += [(k, truth == c, c - 1) for c in there]
        if (objects == CLUTTER).sum() > 80:
            ground.append((k, objects == CLUTTER, -1))
        for r in np.unique(cut):
            mask = cut == r
            inside = np.bincount(truth[mask], minlength=len(THINGS) + 1)
            held = [c for c in there if inside[c] >= 0.5 * areas[c]]
            if len(held) == 1:
                parts.append((k, mask, held[0] - 1))
            elif not held and inside[1:].sum() < 0.02 * mask.sum():
                ground.append((k, mask, -1))

    def names(found: list[tuple[int, NDArray[np.bool_], int]], texts: Sequence[str]) -> NDArray[np.int64]:
        return _named(networks, [scenes.images[k] for k, _, _ in found], [m for _, m, _ in found], texts)

    def rows(found: list[tuple[int, NDArray[np.bool_], int]], values: NDArray[Any]) -> list[tuple[float, float]]:
        return _by_scene(np.array([k for k, _, _ in found]), values, len(scenes.images))

    return {
        "clip_true_masks": rows(true, names(true, THINGS) == np.array([c for _, _, c in true])),
        "clip_fragments": rows(parts, names(parts, THINGS) == np.array([c for _, _, c in parts])),
        "clip_ground_taken_for_thing": rows(ground, names(ground, [*THINGS, *STUFF, *BACKGROUND_WORDS]) < len(THINGS)),
    }


def patch_rows(networks: Networks, scenes: Shipped) -> Counts:
    """CLIP's patches on the value path: share of things' cells that are nearest to their own word, 24-way."""
    clip = networks.clip
    texts = clip.embed_texts(THINGS).float()
    values: list[tuple[float, float]] = []
    for s in batches(len(scenes.images)):
        photos = torch.from_numpy(np.stack(scenes.images[s])).permute(0, 3, 1, 2).to(clip.device)
        pixels = clip.pixels.normalise(F.interpolate(photos.float() / 255, (clip.pixels.side,) * 2, mode="bicubic", antialias=True))
        near = (dense_features(clip, pixels, "value").features.movedim(1, -1) @ texts.T).argmax(-1).cpu()
        for seen, truth in zip(near, scenes.truths[s], strict=True):
            cells = probes.cell_classes(truth).view(SIZE // probes.CELL, -1)
            fitted = F.interpolate(seen[None, None].float(), cells.shape, mode="nearest")[0, 0].long()
            right = (fitted == cells)[cells >= 0]
            values.append((float(right.sum()), float(len(right))))
    return {"clip_value_cells": values}


def captioner_rows(networks: Networks, scenes: Shipped) -> Counts:
    """Things named by the caption's nouns, over all things of all scenes."""
    texts = [c for s in batches(len(scenes.images)) for c in networks.captioner.caption(scenes.images[s])]
    recall, precision = [], []
    for text, note in zip(texts, scenes.notes, strict=True):
        found, true = {k.word for k in keywords(text)} & set(THINGS), set(note["things"])
        recall.append((float(len(found & true)), float(len(true))))
        precision.append((float(len(found & true)), float(len(found))))
    return {"caption_recall": recall, "caption_precision": precision}


def _psnr(made: torch.Tensor, true: torch.Tensor) -> list[tuple[float, float]]:
    return [(float(v), 1.0) for v in -10 * torch.log10((made - true).square().mean((1, 2, 3)))]


def vae_rows(networks: Networks, scenes: Shipped) -> Counts:
    """Mean over pictures of the reconstruction's PSNR in dB, of the VAE and of the tiny one where the folder has it."""
    rows: Counts = {"vae_psnr_db": []}
    diffusion = networks.diffusion
    folder = preset_folder(networks.preset) / "tiny_vae"
    tiny = None
    if folder.is_dir():
        from diffusers import AutoencoderTiny

        tiny = AutoencoderTiny.from_pretrained(folder, torch_dtype=torch.float32).to(networks.device).eval()
        rows["tiny_vae_psnr_db"] = []
    for s in batches(len(scenes.images)):
        pixels = diffusion.pixels(scenes.images[s])
        with torch.no_grad():
            rows["vae_psnr_db"] += _psnr(diffusion.decode(diffusion.encode(pixels)), pixels.float())
            if tiny is not None:
                made = tiny.decode(tiny.encode(pixels.float() * 2 - 1).latents).sample.clamp(-1, 1)
                rows["tiny_vae_psnr_db"] += _psnr((made + 1) / 2, pixels.float())
    return rows


def generate(networks: Networks, prompts: list[str], seeds: list[int]) -> list[Image]:
    """Pictures by diffusers' own pipeline from the preset's folder, one a prompt and seed."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(preset_folder(networks.preset), local_files_only=True).to(networks.device)
    pipeline.set_progress_bar_config(disable=True)
    pictures: list[Image] = []
    for s in tqdm(range(0, len(prompts), 16), desc="generating"):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[s : s + 16]]
        made = pipeline(
            prompts[s : s + 16], num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators, output_type="np"
        )
        pictures += [np.round(p * 255).astype(np.uint8) for p in made.images]
    return pictures


def generation_rows(networks: Networks, scenes: Shipped) -> Counts:
    """Generated pictures of each word, named among the 24 by the preset's own CLIP and by a judge trained apart.

    Beside them how the judge names the true things of the scenes, cut out by their boxes on black.
    """
    words = [w for w in THINGS for _ in range(SEEDS)]
    wanted = np.repeat(np.arange(len(THINGS)), SEEDS)
    pictures = generate(networks, [f"a good picture of a {w}" for w in words], list(range(SEEDS)) * len(THINGS))
    vectors = networks.clip.embed_images(pictures)
    by_clip = (vectors @ networks.clip.embed_texts(THINGS).T).argmax(1).cpu().numpy() == wanted
    judge = probes.train_judge(probes.training_scenes(3000))
    by_judge = probes.judged(judge, pictures) == wanted
    shown = probes.true_masks(scenes.images, scenes.truths)
    true = probes.judged(judge, [probes.cut(i, m) for i, m, _ in shown]) == np.array([c for _, _, c in shown])
    return {
        "generated_named_right": [(float(v), 1.0) for v in by_clip],
        "generated_judged_right": [(float(v), 1.0) for v in by_judge],
        "judge_true_masks": [(float(v), 1.0) for v in true],
    }


def attention_maps(networks: Networks, scenes: Shipped, timestep: int) -> list[dict[str, NDArray[np.float32]]]:
    """For each scene: word -> cross-attention at the photo's size, averaged over the layers of one resolution."""
    diffusion, maps = networks.diffusion, []
    settings = FeatureSettings("cross", (POINTING_RESOLUTION,), timestep=timestep, size=16)
    layers = len(diffusion.sites(settings))
    prompts = [" and ".join(f"a {w}" for w in dict.fromkeys(note["things"])) for note in scenes.notes]
    for s in batches(len(prompts)):
        pixels = diffusion.pixels(scenes.images[s])
        seen = diffusion.features(pixels, settings, prompts[s], batch=BATCH)
        mean = seen.unflatten(1, (layers, -1)).mean(1)
        wide = F.interpolate(mean, scenes.images[0].shape[:2], mode="bilinear", align_corners=False)
        for prompt, note, one in zip(prompts[s], scenes.notes[s], wide, strict=True):
            places = {w: word_places(diffusion.tokenizers[0], prompt, w) for w in note["things"]}
            maps.append({w: one[list(p)].mean(0).cpu().numpy() for w, p in places.items() if p})
    return maps


def attention_rows(networks: Networks, scenes: Shipped, timestep: int = POINTING_TIMESTEP) -> Counts:
    """Pointing game, and whether a word's map is strongest (on average) on its own thing among the scene's things."""
    hits, wins = [], []
    for maps, truth in zip(attention_maps(networks, scenes, timestep), scenes.truths, strict=True):
        masks = {w: truth == THINGS.index(w) + 1 for w in maps}
        pointed = [bool(masks[w].flat[int(seen.argmax())]) for w, seen in maps.items()]
        hits.append((float(sum(pointed)), float(len(pointed))))
        best = [max(masks, key=lambda w, seen=seen: float(seen[masks[w]].mean())) == w for w, seen in maps.items()]  # type: ignore[misc]
        wins.append((float(sum(best)), float(len(best))) if len(maps) > 1 else (0.0, 0.0))
    return {"attention_points_at_thing": hits, "attention_own_thing_wins": wins}


def unet_regions(
    networks: Networks, scenes: Shipped, clusters: int = 4, untrained: bool = False, rgb: bool = False
) -> list[NDArray[np.int64]]:
    """K-means regions of each scene at its own size: of the preset's U-Net features, an untrained U-Net's, or raw colours."""
    method = FreeSegDiff(networks, FreeSegDiffSettings(clusters=clusters, backbone="rgb" if rgb else "diffusion", smooth=True))
    if untrained:
        method = replace(method, networks=untrained_unet(networks))
    regions: list[NDArray[np.int64]] = []
    for s in batches(len(scenes.images)):
        for image, clustering in zip(scenes.images[s], kmeans(method.features(scenes.images[s], []), clusters), strict=True):
            regions.append(method.outline(image, clustering).cpu().numpy())
    return regions


def untrained_unet(networks: Networks) -> Networks:
    """The same networks with a U-Net that was never trained (torch's own random start, seed 0)."""
    from diffusers import UNet2DConditionModel

    from segwright.models.diffusion import Diffusion

    other = replace(networks)
    known = networks.diffusion
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel.from_config(known.unet.config).to(networks.device, known.dtype).eval()
    diffusion = Diffusion(unet, known.vae, known.text_encoders, known.tokenizers, known.scheduler_config)
    loaded = {k: v for k, v in vars(networks).items() if k in ("clip", "captioner", "vit")}
    vars(other).update(loaded, diffusion=diffusion)
    return other


def region_rows(networks: Networks, scenes: Shipped) -> Counts:
    """Best-match mIoU of k-means (K=4): each true segment against its one region, mean over segments of all scenes."""
    kinds: dict[str, dict[str, bool]] = {"unet": {}, "rgb": {"rgb": True}, "untrained_unet": {"untrained": True}}
    rows: Counts = {}
    for kind, options in kinds.items():
        regions = unet_regions(networks, scenes, **options)
        scores = [best_match_iou(t, r) for t, r in zip(scenes.truths, regions, strict=True)]
        rows[f"best_match_{kind}"] = [(float(np.sum(s)), float(len(s))) for s in scores]
    return rows


def probe_rows(networks: Networks, scenes: Shipped) -> Counts:
    """Linear probes: cells of things by raw pixels, residual blocks, DINO and MAE; true masks by colour or outline alone."""
    diffusion = networks.diffusion
    settings = replace(networks.preset.features, kind="resblock")
    backbones: dict[str, Callable[[Sequence[Image]], torch.Tensor]] = {
        "raw": probes.raw_patches,
        "unet": lambda images: diffusion.features(diffusion.pixels(images), settings, [""] * len(images)),
    }
    for kind in ("dino", "mae"):
        if (preset_folder(networks.preset) / kind).is_dir():
            backbones[kind] = getattr(networks, kind).features
    rows: Counts = {f"probe_{k}": probes.patch_probe(f, scenes.images, scenes.truths) for k, f in backbones.items()}
    shown = probes.true_masks(scenes.images, scenes.truths)
    return rows | {f"{d.__name__}_only": probes.classify_by(d, shown) for d in (probes.colours, probes.outline)}


def size_rows(networks: Networks, scenes: Shipped) -> Counts:
    """The preset folder's files, in megabytes of 1,000,000 bytes."""
    return {"preset_mb": [(sum(f.stat().st_size for f in preset_folder(networks.preset).rglob("*") if f.is_file()) / 1e6, 1.0)]}


MEASURES: dict[str, Callable[[Networks, Shipped], Counts]] = {
    "clip": clip_rows, "patches": patch_rows, "captioner": captioner_rows, "vae": vae_rows, "generation": generation_rows,
    "attention": attention_rows, "regions": region_rows, "probes": probe_rows, "size": size_rows,
}  # fmt: skip
ROWS = tuple(MEASURES)


def interval(pairs: list[tuple[float, float]], seed: int = 0) -> list[float]:
    """Estimate and 95 % percentile bootstrap interval of a ratio of sums over scenes (or pictures): [estimate, low, high]."""
    sums, counts = np.array(pairs).T
    drawn = np.random.default_rng(seed).integers(0, len(pairs), (DRAWS, len(pairs)))
    ratios = sums[drawn].sum(1) / np.maximum(counts[drawn].sum(1), 1e-9)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return [round(float(v), 4) for v in (sums.sum() / max(counts.sum(), 1e-9), low, high)]


def measure(
    preset: str = "mini",
    split: str = "val",
    limit: int | None = None,
    rows: tuple[str, ...] = ROWS,
    scenes: Shipped | None = None,
    *,
    dtype: str = "float32",
) -> dict[str, list[float]]:
    """The rows asked for, on the shipped scenes of a split: name -> [estimate, low, high], and ``scenes``, how many.

    Raises:
        InputError: an unknown row or split.
    """
    unknown = set(rows) - set(ROWS)
    if unknown:
        raise InputError(f"rows must be of {', '.join(ROWS)}, got {', '.join(sorted(unknown))}")
    networks = load(preset, "cpu", dtype)
    shown = scenes or read_scenes(split, limit)
    figures: dict[str, list[float]] = {"scenes": [float(len(shown.images))]}
    for row in rows:
        figures |= {name: interval(pairs) for name, pairs in MEASURES[row](networks, shown).items()}
    return figures
