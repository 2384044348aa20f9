"""Stage clip: CLIPModel on true masks, fragments, grounds, clutter and whole scenes.

Three losses. Every picture, outside a region black, against the prompts of all classes (several may be right); whole
scenes against the captions of their batch; and, in whole scenes, the mean of a thing's patch tokens on the value path
(the last block with every token attending to itself alone, MaskCLIP's reading) against the prompts, so that dense methods
have something to read. The vision tower sees a subset of the patches for most of the training (Li et al., FLIP, 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from transformers import BlipImageProcessor, CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from segwright.mini.captions import caption
from segwright.mini.scenes import SIZE, STUFF, THINGS
from segwright.mini.train.data import CLUTTER, Drawn, named_things
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.tokens import CONTEXT, NOTHING, TEMPLATES, clip_tokenizer

PATCH = 8
# Until this share of the steps: masked pictures and whole scenes a step, patches kept of 256 in each (None: all). Shape is
# learnt from many pictures of few patches; dense features and the rest of the way from more patches of fewer pictures.
PHASES: tuple[tuple[float, int, int, int | None, int | None], ...] = (
    (0.78, 160, 8, 32, 96), (0.95, 80, 48, 60, 112), (1.0, 48, 24, None, None),
)  # fmt: skip
KINDS = ("thing", "fragment", "ground", "clutter")
SHARES = (0.62, 0.3, 0.05, 0.03)  # of the masked pictures
SMOOTHING = 0.05
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
CLASSES = (*THINGS, *STUFF, *NOTHING)
FIRST_STUFF, FIRST_NOTHING = len(THINGS), len(THINGS) + len(STUFF)
UNNAMED = list(range(FIRST_NOTHING, len(CLASSES) - 1))  # what a ground without a name may be called
SOMETHING = len(CLASSES) - 1


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": CONTEXT, "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 160, "intermediate_size": 320, "num_hidden_layers": 5, "num_attention_heads": 5,
        "image_size": SIZE, "patch_size": PATCH, "hidden_act": "gelu",
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    return CLIPModel._from_config(config, attn_implementation="eager")  # on a CPU half the time of the fused attention's backward


def kmeans_labels(images: Tensor, clusters: int, generator: Generator, cell: int = 4, rounds: int = 6) -> Tensor:
    """Crude k-means on colour and place: (b, 3, S, S) in 0..1 -> (b, S, S) int64, blocky like a method's regions."""
    small = F.avg_pool2d(images, cell)
    b, _, h, w = small.shape
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    place = torch.stack([y, x]).expand(b, 2, h, w) * generator.uniform(0.2, 1.2)
    points = torch.cat([small, place.to(small)], 1).flatten(2).transpose(1, 2)
    start = torch.from_numpy(generator.permuted(np.tile(np.arange(h * w), (b, 1)), axis=1)[:, :clusters])
    centres = torch.gather(points, 1, start[..., None].expand(-1, -1, points.shape[2]).to(points.device))
    for _ in range(rounds):
        hot = F.one_hot(torch.cdist(points, centres).argmin(2), clusters).to(points)
        centres = hot.transpose(1, 2) @ points / hot.sum(1)[..., None].clamp(min=1)
    labels = torch.cdist(points, centres).argmin(2).view(b, h, w)
    return labels.repeat_interleave(cell, 1).repeat_interleave(cell, 2)


@dataclass
class Sample:
    """mask (S, S) of what is kept; right classes by index; whether unnamed grounds are out of the running."""

    mask: np.ndarray
    right: list[int]
    named: bool = False


def fragment(labels: np.ndarray, regions: np.ndarray, ground: list[int], named: bool, rng: Generator) -> Sample | None:
    """One region that holds at least half of some thing, or next to nothing of any."""
    known = np.where(labels == CLUTTER, 0, labels)
    areas = np.bincount(known.ravel(), minlength=len(THINGS) + 1)
    for r in rng.permutation(int(regions.max()) + 1):
        mask = regions == r
        size = int(mask.sum())
        if size < 100:
            continue
        inside = np.bincount(known[mask], minlength=len(THINGS) + 1)
        held = [c for c in np.flatnonzero(areas[1:]) if inside[c + 1] >= 0.5 * areas[c + 1]]
        if held:
            return Sample(mask, [int(c) for c in held])
        if inside[1:].sum() < 0.02 * size and not np.any(inside[1:] > 0.1 * areas[1:]):
            littered = (labels[mask] == CLUTTER).mean() > 0.15
            return Sample(mask, [*ground, SOMETHING] if littered else ground, named)
    return None


def masked_batch(data: Drawn, rng: Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """images (count, 3, S, S) in 0..1, black outside a region; targets (count, classes), rows sum to 1; barred, bool."""
    picks = np.sort(rng.integers(0, len(data), count))
    pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
    kinds = rng.choice(len(KINDS), count, p=SHARES)
    cut = np.flatnonzero(kinds == KINDS.index("fragment"))
    regions = dict(zip(cut.tolist(), kmeans_labels(pictures[cut], int(rng.integers(3, 7)), rng).numpy(), strict=True))
    masks = torch.ones(count, 1, SIZE, SIZE)
    targets, barred = torch.zeros(count, len(CLASSES)), torch.zeros(count, len(CLASSES), dtype=torch.bool)
    for k, i in enumerate(picks):
        sample = _sample(KINDS[kinds[k]], data, int(i), regions.get(k), rng)
        masks[k, 0] = torch.from_numpy(sample.mask)
        targets[k, sample.right] = 1 / len(sample.right)
        if sample.named:
            barred[k, UNNAMED] = True
    return pictures * masks, targets, barred


def _sample(kind: str, data: Drawn, i: int, regions: np.ndarray | None, rng: Generator) -> Sample:
    labels, stuff, there = data.labels[i], data.stuff[i], sorted({t[0] for t in data.things[i]})
    ground = [FIRST_STUFF + STUFF.index(s) for s in stuff] or UNNAMED
    sample: Sample | None = None
    if kind == "fragment" and regions is not None:
        sample = fragment(labels, regions, ground, bool(stuff), rng)
    elif kind == "clutter" and (labels == CLUTTER).sum() > 80:
        sample = Sample(labels == CLUTTER, [SOMETHING])
    elif kind == "ground":
        sample = Sample(labels == 0, ground, bool(stuff))
    if sample is None and there:
        chosen = there[rng.integers(len(there))]
        sample = Sample(labels == chosen + 1, [chosen])
    return sample or Sample(labels == 0, ground, bool(stuff))


def augment(pictures: Tensor, rng: Generator, spread: float = 0.0) -> Tensor:
    """Normalised pixels of pictures in 0..1; with ``spread`` mirrored, scaled and moved by lot.

    Scenes with captions keep their sides, since captions say left and right.
    """
    if spread:
        count = len(pictures)
        flip = torch.from_numpy(rng.choice((-1.0, 1.0), count))
        scale = torch.from_numpy(np.exp(rng.uniform(-spread, spread, count)))
        move = torch.from_numpy(rng.uniform(-spread, spread, (2, count)) * 0.5)
        zero = torch.zeros(count, dtype=torch.float64)
        turn = torch.stack([torch.stack([flip * scale, zero, move[0]], 1), torch.stack([zero, scale, move[1]], 1)], 1).float()
        grid = F.affine_grid(turn, [count, 3, SIZE, SIZE], align_corners=False)
        pictures = F.grid_sample(pictures, grid, "bilinear", "zeros", align_corners=False)
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def embed(model: CLIPModel, pixels: Tensor, kept: int | None, first: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states before the last block, after it, and which patches they are.

    Args:
        kept: so many patches are looked at; None: all.
        first: (b, patches) in 0..1; patches of a high value are kept rather than others.
    """
    tower = model.vision_model
    hidden = tower.embeddings(pixels)
    places = torch.arange(hidden.shape[1] - 1, device=hidden.device).expand(len(hidden), -1)
    if kept is not None:
        order = torch.rand_like(places.float()) + (0 if first is None else 0.8 * first)
        places = order.argsort(1, descending=True)[:, :kept]
        taken = torch.cat([torch.zeros_like(places[:, :1]), places + 1], 1)
        hidden = torch.gather(hidden, 1, taken[..., None].expand(-1, -1, hidden.shape[2]))
    before = tower.pre_layrnorm(hidden)
    for layer in tower.encoder.layers[:-1]:
        before = _out(layer(before, None))
    return before, _out(tower.encoder.layers[-1](before, None)), places


def _out(made: Tensor | tuple[Tensor, ...]) -> Tensor:
    return made if isinstance(made, Tensor) else made[0]


def image_features(model: CLIPModel, after: Tensor) -> Tensor:
    """Projected, unit-length features of the class token."""
    return F.normalize(model.visual_projection(model.vision_model.post_layernorm(after[:, 0])).float(), dim=-1)


def value_features(model: CLIPModel, before: Tensor) -> Tensor:
    """(b, n, D) unit-length features of the patches on the value path of the last block (``models.clip_dense``, "value")."""
    layer = model.vision_model.encoder.layers[-1]
    beside = before[:, 1:]
    seen = beside + layer.self_attn.out_proj(layer.self_attn.v_proj(layer.layer_norm1(beside)))
    seen = seen + layer.mlp(layer.layer_norm2(seen))
    return F.normalize(model.visual_projection(model.vision_model.post_layernorm(seen)).float(), dim=-1)


def cells(labels: Tensor, grounds: list[int]) -> Tensor:
    """(b, S, S) labels -> (b, patches) class of each patch that is mostly one, else -1. ``grounds``: a scene's class, or -1."""
    b = len(labels)
    table = torch.full((256,), -1)
    table[1 : len(THINGS) + 1], table[CLUTTER] = torch.arange(len(THINGS)), SOMETHING
    known = table[labels]
    known = torch.where(labels == 0, torch.tensor(grounds).view(b, 1, 1), known)
    parts = known.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(3).flatten(1, 2)
    mode = parts.mode(2).values
    return torch.where((parts == mode[..., None]).float().mean(2) >= 0.6, mode, -1)


def pooled(features: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the patches of one class and picture: (n, D) unit-length, (n,) classes."""
    key = torch.where(classes >= 0, classes + len(CLASSES) * torch.arange(len(classes), device=classes.device)[:, None], -1)
    found, place = key[classes >= 0].unique(return_inverse=True)
    sums = torch.zeros(len(found), features.shape[2], device=features.device, dtype=features.dtype)
    sums = sums.index_add(0, place, features[classes >= 0])
    return F.normalize(sums, dim=-1), found % len(CLASSES)


def text_features(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Unit-length features in float32: texts are much alike at first, and bfloat16 would round their differences away."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    with torch.autocast(model.device.type, enabled=False):
        return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)


def scene_batch(data: Drawn, rng: Generator, count: int) -> tuple[Tensor, Tensor, Tensor, list[int], list[str]]:
    """Whole scenes in 0..1, their labels, their things as targets (rows sum to 1), their one ground's class or -1, captions."""
    picks = np.sort(rng.integers(0, len(data), count))
    pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
    targets, grounds, texts = torch.zeros(count, len(CLASSES)), [], []
    for k, i in enumerate(picks):
        right = sorted({t[0] for t in data.things[i]}) or UNNAMED
        targets[k, right] = 1 / len(right)
        stuff = data.stuff[i]
        grounds.append(-1 if len(stuff) > 1 else FIRST_STUFF + STUFF.index(stuff[0]) if stuff else UNNAMED[0])
        texts.append(caption(rng, named_things(data.things[i]), stuff))
    return pictures, torch.from_numpy(data.labels[picks].astype(np.int64)), targets, grounds, texts


def processor(kind: Callable[..., CLIPImageProcessor | BlipImageProcessor]) -> CLIPImageProcessor | BlipImageProcessor:
    """How pictures of any size become pixels: squeezed to the network's square."""
    size = {"height": SIZE, "width": SIZE}
    return kind(size=size, crop_size=size, do_center_crop=False, resample=3, image_mean=list(MEAN), image_std=list(STD))


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder ``clip``."""
    tokenizer = clip_tokenizer(output / "training" / f"tokenizer-clip-{rank}")
    torch.manual_seed(seed)
    model = build(tokenizer)
    if start:
        theirs = CLIPTokenizer.from_pretrained(start / "clip").get_vocab()
        start_from(model, start / "clip", (tokenizer.get_vocab(), theirs))
    model.to(device)
    floor = -torch.tensor(MEAN).view(3, 1, 1) / torch.tensor(STD).view(3, 1, 1) + 0.05

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        _, pictures_masked, scenes_whole, kept, kept_scenes = next(p for p in PHASES if step < p[0] * plan.steps)
        masked, targets, barred = masked_batch(data, rng, pictures_masked)
        pixels = augment(masked, rng, 0.25)
        content = 1 - F.avg_pool2d((pixels < floor).all(1, keepdim=True).float(), PATCH).flatten(1)
        _, after, _ = embed(model, pixels.to(device), kept, content.to(device))
        pictures, labels, there, grounds, texts = scene_batch(data, rng, scenes_whole)
        whole = augment(pictures, rng)
        before, last, places = embed(model, whole.to(device), kept_scenes)
        classes = torch.gather(cells(labels, grounds).to(device), 1, places)

        plain = step % 4 == 0
        prompts = [c if plain or c in NOTHING else TEMPLATES[rng.integers(len(TEMPLATES))].format(c) for c in CLASSES]
        words = text_features(model, tokenizer, [*prompts, *texts])
        scale = model.logit_scale.exp().clamp(max=100)
        named = words[: len(CLASSES)].T
        logits = (scale * image_features(model, after) @ named).masked_fill(barred.to(device), -1e4)
        scenes = image_features(model, last)
        parts, right_parts = pooled(value_features(model, before), classes)
        dense = scale * parts @ named
        hot = F.one_hot(right_parts, len(CLASSES)).float()
        hot[hot[:, UNNAMED].sum(1) > 0] = torch.zeros(len(CLASSES), device=device).index_fill(
            0, torch.tensor(UNNAMED, device=device), 1 / len(UNNAMED)
        )
        value = (
            _cross(logits, targets.to(device), barred.to(device)) + 0.4 * _cross(scale * scenes @ named, there.to(device))
            + 0.6 * _cross(dense, hot) + 0.1 * _pairs(scale * scenes @ words[len(CLASSES) :].T, there.to(device))
        )  # fmt: skip
        right = (targets.gather(1, logits.argmax(1, keepdim=True).cpu()) > 0).float().mean()
        thing = right_parts < len(THINGS)
        return value, {"right": float(right), "cells": float((dense.argmax(1) == right_parts)[thing].float().mean())}

    adam_only = ("embedding", "class_embedding", "projection", "logit_scale")
    notes = train("clip", model, loss, plan, output / "training", seed=seed, adam_only=adam_only)
    beside = (tokenizer, processor(CLIPImageProcessor))
    return lambda: save_model(model, output / "clip", beside), notes | {"samples": samples(plan.steps)}


def samples(steps: int) -> int:
    """Pictures seen in ``steps`` steps."""
    ends = [round(steps * share) for share, *_ in PHASES]
    return sum((b - a) * (masked + scenes) for a, b, (_, masked, scenes, _, _) in zip([0, *ends], ends, PHASES, strict=False))


def _cross(logits: Tensor, targets: Tensor, barred: Tensor | None = None) -> Tensor:
    """Cross entropy with smoothed targets; nothing is smoothed onto barred classes."""
    even = torch.ones_like(logits) if barred is None else (~barred).float()
    return F.cross_entropy(logits, targets * (1 - SMOOTHING) + SMOOTHING * even / even.sum(1, True))


def _pairs(logits: Tensor, there: Tensor) -> Tensor:
    """Both ways between scenes and captions; scenes of the same things count as one another's."""
    same = (there @ there.T > 0.999 / there.gt(0).sum(1, keepdim=True)).float()
    same = torch.maximum(same, torch.eye(len(there), device=there.device))
    return F.cross_entropy(logits, same / same.sum(1, True)) + F.cross_entropy(logits.T, same / same.sum(1, True))
