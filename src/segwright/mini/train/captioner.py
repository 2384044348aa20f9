"""Stage captioner: BlipForConditionalGeneration, its vision tower started from CLIP's.

Beside the words of the caption each patch learns which class it shows: a dozen words a scene say little of what stands where.
Captions here are sober, so that a scene has one right answer: things by size, colour where the glyph has one, ground.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, CLIPModel

from segwright.mini.captions import listing
from segwright.mini.scenes import STUFF, THINGS
from segwright.mini.train.clip import processor
from segwright.mini.train.data import Drawn
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.guide import even
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.pictures import CLASSES, FIRST_STUFF, augment, cells
from segwright.mini.train.tokens import bert_tokenizer

BATCH = 64
KEPT = 112  # patches of 256 that the vision tower sees, drawn at random ...
ALL_FROM = 0.7  # ... until this share of the steps
PATCHES = 0.5  # weight of the patches' classes


def build(tokenizer: BertTokenizer, clip: CLIPModel) -> BlipForConditionalGeneration:
    seen = clip.config.vision_config
    vision = {
        "hidden_size": seen.hidden_size, "intermediate_size": seen.intermediate_size, "image_size": seen.image_size,
        "num_hidden_layers": seen.num_hidden_layers, "num_attention_heads": seen.num_attention_heads,
        "patch_size": seen.patch_size, "hidden_act": seen.hidden_act, "layer_norm_eps": seen.layer_norm_eps,
    }  # fmt: skip
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "encoder_hidden_size": seen.hidden_size, "intermediate_size": 256,
        "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64, "projection_dim": 64,
        "bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id, "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "label_smoothing": 0.0,
    }  # fmt: skip
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=64, image_text_hidden_size=64)
    )
    start_from_clip(model, clip)
    return model


@torch.no_grad()
def start_from_clip(model: BlipForConditionalGeneration, clip: CLIPModel) -> None:
    """Copy CLIP's vision tower. BLIP has no norm before its first block: the embeddings are scaled to stand in for it."""
    ours, theirs = model.vision_model, clip.vision_model
    position = theirs.embeddings.position_embedding.weight
    gain = theirs.pre_layrnorm.weight / (position.std() ** 2 + 1.0 / position.shape[1]).sqrt()
    ours.embeddings.class_embedding.copy_((theirs.embeddings.class_embedding * gain).view(1, 1, -1))
    ours.embeddings.patch_embedding.weight.copy_(theirs.embeddings.patch_embedding.weight * gain[:, None, None, None])
    ours.embeddings.patch_embedding.bias.copy_(theirs.pre_layrnorm.bias)
    ours.embeddings.position_embedding.copy_((position * gain)[None])
    for a, b in zip(ours.encoder.layers, theirs.encoder.layers, strict=True):
        parts = [b.self_attn.q_proj, b.self_attn.k_proj, b.self_attn.v_proj]
        a.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in parts]))
        a.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in parts]))
        a.self_attn.projection.load_state_dict(b.self_attn.out_proj.state_dict())
        a.layer_norm1.load_state_dict(b.layer_norm1.state_dict())
        a.layer_norm2.load_state_dict(b.layer_norm2.state_dict())
        a.mlp.load_state_dict(b.mlp.state_dict())
    ours.post_layernorm.load_state_dict(theirs.post_layernorm.state_dict())


def sober_caption(things: list[tuple[int, str | None, list[int]]], areas: list[int], stuff: Sequence[str]) -> str:
    """ "a red car and two dogs on grass": things by visible area of their word, the largest first; the lowest ground."""
    order = np.argsort([-a for a in areas], kind="stable")
    words = [THINGS[things[i][0]] for i in order]
    single = {w for w in words if words.count(w) == 1}
    nouns = [f"{things[i][1]} {w}" if things[i][1] and w in single else w for i, w in zip(order, words, strict=True)]
    return listing(nouns) + (f" on {stuff[-1]}" if stuff else "")


def batch(data: Drawn, rng: Generator) -> tuple[Tensor, list[str], Tensor]:
    """Pixels, captions, and the class of each patch or -1 (b, patches)."""
    picks = np.sort(rng.integers(0, len(data), BATCH))
    picks = np.array([i for i in picks if data.things[i]])
    pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
    texts = []
    for i in picks:
        areas = np.bincount(data.labels[i].ravel(), minlength=256)
        texts.append(sober_caption(data.things[i], [int(areas[c + 1]) for c, _, _ in data.things[i]], data.stuff[i]))
    grounds = [-1 if len(s) > 1 else FIRST_STUFF + STUFF.index(s[0]) if s else -1 for s in (data.stuff[i] for i in picks)]
    return augment(pictures, rng), texts, cells(torch.from_numpy(data.labels[picks].astype(np.int64)), grounds)


def vision_states(model: BlipForConditionalGeneration, pixels: Tensor, kept: int | None) -> tuple[Tensor, Tensor]:
    """(b, 1 + n, d) and which patches they are (b, n); with ``kept`` that many patches drawn at random a picture."""
    tower = model.vision_model
    hidden = tower.embeddings(pixels)
    places = torch.arange(hidden.shape[1] - 1, device=hidden.device).expand(len(hidden), -1)
    if kept is not None:
        places = torch.rand_like(places.float()).argsort(1)[:, :kept]
        taken = torch.cat([torch.zeros_like(places[:, :1]), places + 1], 1)
        hidden = torch.gather(hidden, 1, taken[..., None].expand(-1, -1, hidden.shape[2]))
    return tower.post_layernorm(tower.encoder(inputs_embeds=hidden).last_hidden_state), places


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder ``captioner``."""
    tokenizer = bert_tokenizer(output / "training" / f"words-{rank}")
    clip = CLIPModel.from_pretrained(output / "clip", dtype=torch.float32)
    torch.manual_seed(seed)
    model = build(tokenizer, clip)
    if start:
        theirs = BertTokenizer.from_pretrained(start / "captioner").get_vocab()
        start_from(model, start / "captioner", (tokenizer.get_vocab(), theirs))
    model.of_patch = nn.Linear(model.config.vision_config.hidden_size, len(CLASSES))
    model.to(device)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, texts, classes = batch(data, rng)
        tokens = tokenizer(texts, padding=True, return_tensors="pt").to(device)
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        states, places = vision_states(model, pixels.to(device), KEPT if step < ALL_FROM * plan.steps else None)
        logits = model.text_decoder(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, encoder_hidden_states=states
        ).logits[:, :-1]
        value = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels[:, 1:].flatten())
        right = (logits.argmax(-1) == labels[:, 1:])[labels[:, 1:] >= 0].float().mean()
        there = torch.gather(classes.to(device), 1, places)
        known = there >= 0
        dense = model.of_patch(states[:, 1:][known]).float()
        each = torch.nn.functional.cross_entropy(dense, there[known], reduction="none", label_smoothing=0.05)
        hits = (dense.argmax(1) == there[known])[there[known] < len(THINGS)].float().mean()
        figures = {"words": float(value.detach()), "right": float(right), "cells": float(hits)}
        return value + PATCHES * (each * even(there)).sum(), figures

    notes = train("captioner", model, loss, plan, output / "training", seed=seed, adam_only=("embedding", "cls.predictions"))
    del model.of_patch
    beside = (tokenizer, processor(BlipImageProcessor))
    return lambda: save_model(model, output / "captioner", beside), notes | {"samples": plan.steps * BATCH}
