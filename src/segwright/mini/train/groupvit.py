"""Stage groupvit: GroupViTModel on whole scenes and their captions (Xu et al., CVPR 2022), supervised by text alone.

Two losses, as published: scenes against captions, and scenes against prompts of the words in each caption (their multi-label
contrastive loss, Eq. 7). No mask is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from transformers import CLIPImageProcessor, GroupViTConfig, GroupViTModel

from segwright.mini.captions import caption
from segwright.mini.scenes import SIZE, STUFF, THINGS
from segwright.mini.train.clip import processor, text_features
from segwright.mini.train.data import Drawn, named_things
from segwright.mini.train.export import save_model, start_from
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.pictures import PATCH, augment
from segwright.mini.train.tokens import CONTEXT, TEMPLATES, clip_tokenizer

BATCH = 64
WIDTH = 128


def build(vocabulary: int, start_id: int, end_id: int) -> GroupViTModel:
    text = {
        "vocab_size": vocabulary, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT, "hidden_act": "gelu", "bos_token_id": start_id, "eos_token_id": end_id,
        "pad_token_id": end_id,
    }  # fmt: skip
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 256, "depths": [3, 2, 2], "num_hidden_layers": 7, "num_attention_heads": 4,
        "num_group_tokens": [16, 8, 0], "num_output_groups": [16, 8, 0], "image_size": SIZE, "patch_size": PATCH, "assign_eps": 1.0,
    }  # fmt: skip
    config = GroupViTConfig(text_config=text, vision_config=vision, projection_dim=128, projection_intermediate_dim=256)
    return GroupViTModel(config)


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder ``groupvit``."""
    tokenizer = clip_tokenizer(output / "training" / f"tokenizer-groupvit-{rank}")
    torch.manual_seed(seed)
    model = build(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    if start:
        start_from(model, start / "groupvit")
    model.to(device)
    words = (*THINGS, *STUFF)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        picks = np.sort(rng.integers(0, len(data), BATCH))
        pictures = torch.from_numpy(data.images[picks]).permute(0, 3, 1, 2).float() / 255
        texts = [caption(rng, named_things(data.things[i]), data.stuff[i]) for i in picks]
        there = torch.zeros(BATCH, len(words))
        for k, i in enumerate(picks):
            there[k, [t[0] for t in data.things[i]] + [len(THINGS) + STUFF.index(s) for s in data.stuff[i]]] = 1
        prompts = [TEMPLATES[rng.integers(len(TEMPLATES))].format(w) for w in words]
        read = text_features(model, tokenizer, [*texts, *prompts])
        seen = F.normalize(model.get_image_features(augment(pictures, rng).to(device)).pooler_output.float(), dim=-1)
        scale = model.logit_scale.exp().clamp(max=100)
        same = there.to(device)
        pairs = scale * seen @ read[:BATCH].T
        alike = ((same[:, None] == same[None]).all(-1)).float()
        right = alike / alike.sum(1, True)
        logits = scale * seen @ read[BATCH:].T
        kept = same.sum(1) > 0
        named = F.cross_entropy(logits[kept], same[kept] / same[kept].sum(1, True))
        found = (same.gather(1, logits[:, : len(THINGS)].argmax(1, keepdim=True)) > 0)[kept].float().mean()
        return F.cross_entropy(pairs, right) + F.cross_entropy(pairs.T, right) + 2 * named, {"right": float(found)}

    notes = train(
        "groupvit", model, loss, plan, output / "training", seed=seed, adam_only=("embedding", "group_token", "logit_scale")
    )
    return lambda: save_model(model, output / "groupvit", (tokenizer, processor(CLIPImageProcessor))), notes | {
        "samples": plan.steps * BATCH
    }
