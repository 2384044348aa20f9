"""The model card's figures: how well each miniature network does its part on scenes that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from segwright.errors import InputError
from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
from segwright.metrics import best_match_iou
from segwright.mini.figures import BATCH, Figures, batches, dataset_miou
from segwright.mini.scenes import STUFF, THINGS
from segwright.mini.train.tokens import NOTHING
from segwright.mini.voc import Shipped, read_scenes
from segwright.models.diffusion import FeatureSettings
from segwright.models.tokens import word_places
from segwright.presets import preset_folder
from segwright.regions.kmeans import kmeans
from segwright.types import Image
from segwright.weights import Networks, load
from segwright.words.nouns import keywords

POINTING_TIMESTEP = 100  # best of 100 .. 500 on training scenes
POINTING_RESOLUTION = 32  # 16x16 cells of the 32x32 latent
SEEDS = 8  # generated pictures a word
GUIDANCE, STEPS = 3.0, 30


def _named(networks: Networks, images: list[Image], masks: list[NDArray[np.bool_]], texts: list[str]) -> NDArray[np.int64]:
    """The nearest text's place for each masked picture."""
    vectors = networks.clip.embed_masked(images, [torch.from_numpy(m)[None] for m in masks])
    return (torch.cat(vectors) @ networks.clip.embed_texts(texts).T).argmax(1).cpu().numpy()


def clip_rows(networks: Networks, scenes: Shipped) -> Figures:
    """Names of true masks, of fragments that hold at least half of one thing, and of pure ground."""
    true: list[tuple[Image, NDArray[np.bool_], int]] = []
    parts: list[tuple[Image, NDArray[np.bool_], int]] = []
    ground: list[tuple[Image, NDArray[np.bool_], int]] = []
    regions = unet_regions(networks, scenes)
    for image, truth, cut in zip(scenes.images, scenes.truths, regions, strict=True):
        areas = np.bincount(truth.ravel(), minlength=len(THINGS) + 1)
        true += [(image, truth == c, c - 1) for c in (np.flatnonzero(areas[1:]) + 1).tolist()]
        for r in np.unique(cut):
            mask = cut == r
            inside = np.bincount(truth[mask], minlength=len(THINGS) + 1)
            held = [c for c in np.flatnonzero(areas[1:]) + 1 if inside[c] >= 0.5 * areas[c]]
            if len(held) == 1:
                parts.append((image, mask, int(held[0]) - 1))
            elif not held and inside[1:].sum() < 0.02 * mask.sum():
                ground.append((image, mask, -1))

    def right(found: list[tuple[Image, NDArray[np.bool_], int]]) -> float:
        names = _named(networks, [f[0] for f in found], [f[1] for f in found], list(THINGS))
        return float(np.mean(names == np.array([f[2] for f in found])))

    as_thing = _named(networks, [g[0] for g in ground], [g[1] for g in ground], [*THINGS, *STUFF, *NOTHING]) < len(THINGS)
    return {
        "clip_true_masks": right(true), "clip_true_masks_count": len(true),
        "clip_fragments": right(parts), "clip_fragments_count": len(parts),
        "clip_ground_taken_for_thing": float(as_thing.mean()), "clip_ground_count": len(ground),
    }  # fmt: skip


def captioner_rows(networks: Networks, scenes: Shipped) -> Figures:
    """Things named by the caption's nouns, over all things of all scenes."""
    said = [c for s in batches(len(scenes.images)) for c in networks.captioner.caption(scenes.images[s])]
    hits = named = there = 0
    for text, note in zip(said, scenes.notes, strict=True):
        found, true = {k.word for k in keywords(text)} & set(THINGS), set(note["things"])
        hits, named, there = hits + len(found & true), named + len(found), there + len(true)
    return {"caption_recall": hits / there, "caption_precision": hits / max(1, named)}


def vae_rows(networks: Networks, scenes: Shipped) -> Figures:
    """Mean over pictures of the reconstruction's PSNR in dB."""
    psnr: list[float] = []
    diffusion = networks.diffusion
    for s in batches(len(scenes.images)):
        pixels = diffusion.pixels(scenes.images[s])
        with torch.no_grad():
            made = diffusion.decode(diffusion.encode(pixels))
        psnr += (-10 * torch.log10((made - pixels.float()).square().mean((1, 2, 3)))).tolist()
    return {"vae_psnr_db": float(np.mean(psnr))}


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


def generation_rows(networks: Networks, scenes: Shipped) -> Figures:
    """Generated pictures of each word, named by the preset's own CLIP among the 24."""
    words = [w for w in THINGS for _ in range(SEEDS)]
    pictures = generate(networks, [f"a good picture of a {w}" for w in words], list(range(SEEDS)) * len(THINGS))
    vectors = networks.clip.embed_images(pictures)
    names = (vectors @ networks.clip.embed_texts(THINGS).T).argmax(1).cpu().numpy()
    right = names == np.repeat(np.arange(len(THINGS)), SEEDS)
    worst = {f"generated_{w}": float(right[i * SEEDS : (i + 1) * SEEDS].mean()) for i, w in enumerate(THINGS)}
    return {"generated_named_right": float(right.mean())} | worst


def attention_maps(networks: Networks, scenes: Shipped, timestep: int) -> list[dict[str, NDArray[np.float32]]]:
    """For each scene: word -> cross-attention at the photo's size, averaged over the layers of one resolution."""
    diffusion, maps = networks.diffusion, []
    settings = FeatureSettings("cross", (POINTING_RESOLUTION,), timestep=timestep, size=16)
    layers = len(diffusion.sites(settings))
    prompts = [note["captions"][0] for note in scenes.notes]
    for s in batches(len(prompts)):
        pixels = diffusion.pixels(scenes.images[s])
        seen = diffusion.features(pixels, settings, prompts[s], batch=BATCH)
        mean = seen.unflatten(1, (layers, -1)).mean(1)
        wide = torch.nn.functional.interpolate(mean, scenes.images[0].shape[:2], mode="bilinear", align_corners=False)
        for prompt, note, one in zip(prompts[s], scenes.notes[s], wide, strict=True):
            places = {w: word_places(diffusion.tokenizers[0], prompt, w) for w in note["things"]}
            maps.append({w: one[list(p)].mean(0).cpu().numpy() for w, p in places.items() if p})
    return maps


def attention_rows(networks: Networks, scenes: Shipped, timestep: int = POINTING_TIMESTEP) -> Figures:
    """Pointing game, and whether a word's map is strongest (on average) on its own thing among the scene's things."""
    hits: list[bool] = []
    wins: list[bool] = []
    for maps, truth in zip(attention_maps(networks, scenes, timestep), scenes.truths, strict=True):
        masks = {w: truth == THINGS.index(w) + 1 for w in maps}
        for word, seen in maps.items():
            hits.append(bool(masks[word].flat[int(seen.argmax())]))
            if len(maps) > 1:
                wins.append(max(masks, key=lambda w: float(seen[masks[w]].mean())) == word)
    return {"attention_points_at_thing": float(np.mean(hits)), "attention_own_thing_wins": float(np.mean(wins))}


def unet_regions(
    networks: Networks, scenes: Shipped, clusters: int = 4, untrained: bool = False, rgb: bool = False
) -> list[NDArray[np.int64]]:
    """K-means regions of each scene at its own size: of the preset's U-Net features, an untrained U-Net's, or raw colours."""
    method = FreeSegDiff(networks, FreeSegDiffSettings(clusters=clusters, backbone="rgb" if rgb else "diffusion", smooth=True))
    if untrained:
        method = replace(method, networks=forgetful(networks))
    regions: list[NDArray[np.int64]] = []
    for s in batches(len(scenes.images)):
        for image, clustering in zip(scenes.images[s], kmeans(method.features(scenes.images[s], []), clusters), strict=True):
            regions.append(method.outline(image, clustering).cpu().numpy())
    return regions


def forgetful(networks: Networks) -> Networks:
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


def region_rows(networks: Networks, scenes: Shipped) -> Figures:
    """Best-match mIoU of k-means (K=4): each true segment against its one region, mean over segments of all scenes."""
    kinds: dict[str, dict[str, bool]] = {"unet": {}, "rgb": {"rgb": True}, "untrained_unet": {"untrained": True}}
    figures = {}
    for kind, options in kinds.items():
        regions = unet_regions(networks, scenes, **options)
        scores = [v for t, r in zip(scenes.truths, regions, strict=True) for v in best_match_iou(t, r)]
        figures[f"best_match_{kind}"] = float(np.mean(scores))
    return figures


VARIANTS: dict[str, dict[str, Any]] = {
    "freeseg": {},
    "freeseg_no_crf": {"refine": None},
    "freeseg_pamr": {"refine": "pamr"},
    "freeseg_no_filter": {"candidates": "none"},
    "freeseg_reference_rule": {"candidates": "reference"},
    "freeseg_restricted": {"restrict": True},
    "freeseg_rgb": {"backbone": "rgb"},
    "freeseg_clip_vit": {"backbone": "clip"},
    "freeseg_smooth": {"smooth": True},
    "freeseg_sharpen_first": {"sharpen_first": True},
    "freeseg_sharpen_first_restricted": {"sharpen_first": True, "restrict": True},
}


def freeseg_rows(networks: Networks, scenes: Shipped) -> Figures:
    """FreeSeg-Diff with the 24 words, in the paper's order and in variants."""
    figures: Figures = {}
    for name, settings in VARIANTS.items():
        method = FreeSegDiff(networks, FreeSegDiffSettings(**settings))
        figures[f"miou_{name}"], figures[f"per_image_{name}"] = dataset_miou(method.many, scenes)
    untrained = FreeSegDiff(forgetful(networks), FreeSegDiffSettings())
    figures["miou_freeseg_untrained"], figures["per_image_freeseg_untrained"] = dataset_miou(untrained.many, scenes)
    return figures


def open_rows(networks: Networks, scenes: Shipped) -> Figures:
    """FreeSeg-Diff without words: the caption's nouns, matched to the classes exactly."""
    figures: Figures = {}
    for name, sharpen_first in {"open": False, "open_sharpen_first": True}.items():
        method = FreeSegDiff(networks, FreeSegDiffSettings(sharpen_first=sharpen_first))
        figures[f"miou_{name}"], figures[f"per_image_{name}"] = dataset_miou(method.many, scenes, None)
    return figures


def size_rows(networks: Networks, scenes: Shipped) -> Figures:
    """The preset folder's files, in megabytes of 1,000,000 bytes."""
    return {"preset_mb": sum(f.stat().st_size for f in preset_folder(networks.preset).rglob("*") if f.is_file()) / 1e6}


MEASURES: dict[str, Callable[[Networks, Shipped], Figures]] = {
    "clip": clip_rows, "captioner": captioner_rows, "vae": vae_rows, "generation": generation_rows,
    "attention": attention_rows, "regions": region_rows, "freeseg": freeseg_rows, "open": open_rows, "size": size_rows,
}  # fmt: skip
ROWS = tuple(MEASURES)


def measure(
    preset: str = "mini",
    split: str = "val",
    limit: int | None = None,
    rows: tuple[str, ...] = ROWS,
    scenes: Shipped | None = None,
    dtype: str = "float32",
) -> Figures:
    """The rows asked for, on the shipped scenes of a split.

    Raises:
        InputError: an unknown row or split.
    """
    unknown = set(rows) - set(ROWS)
    if unknown:
        raise InputError(f"rows must be of {', '.join(ROWS)}, got {', '.join(sorted(unknown))}")
    networks = load(preset, "cpu", dtype)
    shown = scenes or read_scenes(split, limit)
    figures: Figures = {}
    for row in rows:
        figures |= MEASURES[row](networks, shown)
    return figures
