"""Stage clip: CLIPModel on true masks, fragments, grounds, clutter and whole scenes.

Its own losses: every picture, outside a region black, against the prompts of all classes (several may be right); whole
scenes against the captions of their batch; and the mean of a thing's patch tokens on the value path (the last block with
every token attending to itself alone, MaskCLIP's reading) against the prompts, so that dense methods have something to read.
Beside them the guide's (``guide``): its opinion of a region and of a patch is a soft target, and the hidden states that the
last block reads are drawn towards its features. The vision tower sees a subset of the patches for most of the training
(Li et al., FLIP, 2023): of a region those that hold something, of a scene a window.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn
from transformers import BlipImageProcessor, CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from segwright.mini.scenes import SIZE, THINGS
from segwright.mini.train import guide
from segwright.mini.train.data import Drawn
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.pictures import (
    CLASSES,
    MEAN,
    PATCH,
    STD,
    UNNAMED,
    Scenes,
    augment,
    cells,
    content,
    cross,
    masked_batch,
    scene_batch,
)  # fmt: skip
from segwright.mini.train.tokens import BACKGROUND_WORDS, CONTEXT, TEMPLATES, clip_tokenizer

# Until this share of the steps: regions and scenes a step, patches kept of a region, side of the window of a scene in patches.
# None: all patches; only then is a scene set against its caption.
PHASES: tuple[tuple[float, int, int, int | None, int | None], ...] = ((0.9, 72, 36, 48, 10), (1.0, 48, 24, None, None))
TRUST = 0.5  # share of the guide in the targets of regions
GUIDED = 2  # one region of so many is shown to the guide, which would take two fifths of a step if it saw all
ALIGNED = 1.5  # weight of the distance to its features


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": CONTEXT, "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 5, "num_attention_heads": 5,
        "image_size": SIZE, "patch_size": PATCH, "hidden_act": "gelu",
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    return CLIPModel._from_config(config, attn_implementation="eager")  # on a CPU half the time of the fused attention's backward


def embed(model: CLIPModel, pixels: Tensor, kept: int | None, first: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """Hidden states (b, 1 + n, d) after each block, and which patches they are (b, n).

    Args:
        kept: so many patches are looked at; None: all.
        first: (b, patches) in 0..1; patches of a high value are kept rather than others.
    """
    tower = model.vision_model
    hidden = tower.embeddings(pixels)
    places = torch.arange(hidden.shape[1] - 1, device=hidden.device).expand(len(hidden), -1)
    if kept is not None:
        order = torch.rand_like(places.float()) + (0 if first is None else first)
        places = order.argsort(1, descending=True)[:, :kept]
        taken = torch.cat([torch.zeros_like(places[:, :1]), places + 1], 1)
        hidden = torch.gather(hidden, 1, taken[..., None].expand(-1, -1, hidden.shape[2]))
    states = [tower.pre_layrnorm(hidden)]
    for layer in tower.encoder.layers:
        states.append(_out(layer(states[-1], None)))
    return states[1:], places


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


def processor(kind: Callable[..., CLIPImageProcessor | BlipImageProcessor]) -> CLIPImageProcessor | BlipImageProcessor:
    """How pictures of any size become pixels: squeezed to the network's square."""
    size = {"height": SIZE, "width": SIZE}
    return kind(size=size, crop_size=size, do_center_crop=False, resample=3, image_mean=list(MEAN), image_std=list(STD))


def windows(labels: Tensor, side: int, rng: Generator) -> Tensor:
    """(b, S, S) labels -> (b, patches), 1 in a square of ``side`` patches about a place of some thing, else 0."""
    whole = SIZE // PATCH
    out = torch.zeros(len(labels), whole, whole)
    for k, known in enumerate(labels.numpy()):
        things = np.unique(known[(known > 0) & (known <= len(THINGS))])
        place = np.argwhere(known == rng.choice(things)) if len(things) else rng.integers(0, SIZE, (1, 2))
        middle = place[rng.integers(len(place))] / PATCH
        top, left = np.clip(middle - side / 2 + rng.uniform(-2, 2, 2), 0, whole - side).astype(int)
        out[k, top : top + side, left : left + side] = 1
    return out.flatten(1)


def seen_things(classes: Tensor) -> Tensor:
    """(b, patches) classes or -1 -> (b, classes) targets, even over the things there, or over grounds without a name."""
    seen = F.one_hot(classes.clamp(min=0), len(CLASSES)).mul((classes >= 0)[..., None]).amax(1).float()
    seen[:, len(THINGS) :] = 0
    seen[seen.sum(1) == 0] = torch.zeros(len(CLASSES), device=seen.device).index_fill(
        0, torch.tensor(UNNAMED, device=seen.device), 1
    )
    return seen / seen.sum(1, keepdim=True)


class Lesson:
    """One step's losses: the towers' own, and the guide's."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, teacher: guide.Teacher) -> None:
        self.model, self.tokenizer, self.teacher = model, tokenizer, teacher
        self.device = model.device

    def words(self, rng: Generator, step: int, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Features of the classes (in a template three times of four), times the logits' scale, and of the captions."""
        plain = step % 4 == 0
        prompts = [c if plain or c in BACKGROUND_WORDS else TEMPLATES[rng.integers(len(TEMPLATES))].format(c) for c in CLASSES]
        made = text_features(self.model, self.tokenizer, [*prompts, *captions])
        made = made * self.model.logit_scale.exp().clamp(max=100)
        return made[: len(CLASSES)], made[len(CLASSES) :]

    def apart(self, states: list[Tensor], taught: list[Tensor], places: Tensor, weights: Tensor) -> Tensor:
        """1 - cosine of the guide's features in the patches and hidden states, mapped: before the last block, and of the second."""
        value = torch.zeros((), device=self.device)
        for towards, state, features in zip(self.model.towards_guide, (states[-2], states[1]), taught, strict=True):
            theirs = _at(features.flatten(2).transpose(1, 2), places)
            value = value + ((1 - F.cosine_similarity(towards(state[:, 1:]).float(), theirs, dim=-1)) * weights).sum()
        return ALIGNED * value / weights.sum().clamp(min=1)

    def regions(
        self, masked: tuple[Tensor, Tensor, Tensor], rng: Generator, kept: int | None, named: Tensor
    ) -> tuple[Tensor, Tensor]:
        pixels = augment(masked[0], rng, 0.25)
        filled, targets, barred = (t.to(self.device) for t in (content(pixels), *masked[1:]))
        pixels = pixels.to(self.device)
        states, places = embed(self.model, pixels, kept, filled)
        logits = (image_features(self.model, states[-1]) @ named.T).masked_fill(barred, -1e4)
        right = (targets.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean()
        some = len(pixels) // GUIDED
        features, taught = self.teacher(pixels[:some])
        theirs = self.teacher.guide.pooled(features, filled[:some]).masked_fill(barred[:some], -1e4).softmax(1)
        targets = torch.cat([torch.lerp(targets[:some], theirs, TRUST), targets[some:]])
        states, places = [state[:some] for state in states], places[:some]
        return cross(logits, targets, barred) + self.apart(states, taught, places, torch.gather(filled[:some], 1, places)), right

    def scenes(self, scenes: Scenes, rng: Generator, side: int | None, words: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        named, captions = words
        pixels = augment(scenes.pictures, rng).to(self.device)
        window = None if side is None else windows(scenes.labels, side, rng).to(self.device)
        states, places = embed(self.model, pixels, None if side is None else side * side, window)
        classes = torch.gather(cells(scenes.labels, scenes.grounds).to(self.device), 1, places)
        values, whole = value_features(self.model, states[-2]), image_features(self.model, states[-1])
        parts, right = pooled(values, classes)
        hot = F.one_hot(right, len(CLASSES)).float()
        nameless = torch.tensor(UNNAMED, device=self.device)
        hot[hot[:, UNNAMED].sum(1) > 0] = torch.zeros(len(CLASSES), device=self.device).index_fill(0, nameless, 1 / len(UNNAMED))
        features, taught = self.teacher(pixels)
        likely = _at(self.teacher.guide.logits(features).softmax(2), places)
        value = (
            0.6 * cross(parts @ named.T, hot) + 1.0 * cross((values @ named.T).flatten(0, 1), likely.flatten(0, 1))
            + 0.3 * cross(whole @ named.T, seen_things(classes)) + self.apart(states, taught, places, torch.ones_like(places))
        )  # fmt: skip
        if side is None:
            value = value + 0.1 * _pairs(whole @ captions.T, scenes.there.to(self.device))
        thing = right < len(THINGS)
        return value, ((parts @ named.T).argmax(1) == right)[thing].float().mean()


def _at(of_patches: Tensor, places: Tensor) -> Tensor:
    """(b, patches, d) -> (b, n, d) at those places."""
    return torch.gather(of_patches, 1, places[..., None].expand(-1, -1, of_patches.shape[2]))


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
    width = model.config.vision_config.hidden_size
    model.towards_guide = nn.ModuleList((nn.Linear(width, guide.FEATURES), nn.Linear(width, guide.WIDTHS[2])))
    model.to(device)
    lesson = Lesson(model, tokenizer, guide.Teacher(data, output, device))

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        _, count, whole, kept, side = next(p for p in PHASES if step < p[0] * plan.steps)
        masked, scenes = masked_batch(data, rng, count), scene_batch(data, rng, whole)
        classes, captions = lesson.words(rng, step, [] if side else scenes.captions)
        of_regions, right = lesson.regions(masked, rng, kept, classes)
        of_scenes, hits = lesson.scenes(scenes, rng, side, (classes, captions))
        return of_regions + of_scenes, {"right": float(right), "cells": float(hits)}

    adam_only = ("embedding", "class_embedding", "projection", "logit_scale", "towards_guide")
    notes = train("clip", model, loss, plan, output / "training", seed=seed, adam_only=adam_only)
    del model.towards_guide
    beside = (tokenizer, processor(CLIPImageProcessor))
    return lambda: save_model(model, output / "clip", beside), notes | {"samples": samples(plan.steps)}


def samples(steps: int) -> int:
    """Pictures seen in ``steps`` steps."""
    ends = [round(steps * share) for share, *_ in PHASES]
    return sum((b - a) * (masked + scenes) for a, b, (_, masked, scenes, _, _) in zip([0, *ends], ends, PHASES, strict=False))


def _pairs(logits: Tensor, there: Tensor) -> Tensor:
    """Both ways between scenes and captions; scenes of the same things count as one another's."""
    same = (there @ there.T > 0.999 / there.gt(0).sum(1, keepdim=True)).float()
    same = torch.maximum(same, torch.eye(len(there), device=there.device))
    return F.cross_entropy(logits, same / same.sum(1, True)) + F.cross_entropy(logits.T, same / same.sum(1, True))
