"""Stage diffusion: UNet2DConditionModel with its own CLIPTextModel, v-prediction on Stable Diffusion's betas.

First on windows of half the side around one thing (a quarter of the cost), then on whole scenes. Two steps of three see
portraits (``scenes.portrait``), whose captions alone say "a good picture of": what OVDiff asks for. Beside the denoising loss the
features half way up are drawn towards those of the guide on the clean picture (REPA: Yu et al., "Representation Alignment for
Generation", ICLR 2025), without which a U-Net of this size takes many times as long to tell things apart. The guide has seen
labels, so what these features know is no evidence of what denoising alone teaches.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import trange
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from segwright.mini.captions import Named, caption, good_caption
from segwright.mini.scenes import SIZE, THINGS
from segwright.mini.train import guide
from segwright.mini.train.data import PORTRAITS, Drawn, named_things, render
from segwright.mini.train.export import declare_float32, start_from
from segwright.mini.train.loop import Plan, train
from segwright.mini.train.pictures import normalised
from segwright.mini.train.tokens import CONTEXT, clip_tokenizer

WINDOW = 16  # latent cells of the first part
FIRST_PART = 0.6  # share of the steps on windows
BATCH, WHOLE_BATCH = 96, 24
CELL = 4  # pixels to a latent cell
GAMMA = 5.0  # min-SNR (Hang et al. 2023)
ALIGNED = 0.15  # weight of the guide's part (REPA: 0.5; 0.4 left the U-Net's own pictures without shapes)
DROPPED = 0.1  # captions left empty, for guidance
PORTRAITS_SEED = 0
SCENES = 12_000  # of each kind, whose latents are kept


class Painter(nn.Module):
    """The U-Net and its text encoder, trained together."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(
            sample_size=SIZE // CELL, in_channels=4, out_channels=4, block_out_channels=(32, 80, 128), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=128, attention_head_dim=4, norm_num_groups=8,
        )  # fmt: skip
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=CONTEXT,
                hidden_act="gelu",
                projection_dim=128,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.towards_guide = nn.Sequential(nn.Conv2d(80, 256, 1), nn.SiLU(), nn.Conv2d(256, guide.FEATURES, 1))


def schedule() -> DDPMScheduler:
    """Stable Diffusion's betas with v-prediction."""
    return DDPMScheduler(
        1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False
    )


@torch.no_grad()
def cache_latents(
    data: Drawn, vae: AutoencoderKL, folder: Path, device: str, bfloat16: bool = False, *, name: str = "latents"
) -> NDArray[np.float16]:
    """Scaled latent means of the first scenes, (n, 4, S/4, S/4) float16, encoded once and kept in ``folder``."""
    count = min(SCENES, len(data))
    file = folder / f"{name}-{count}.npy"
    if not file.is_file():
        out = np.empty((count, 4, SIZE // CELL, SIZE // CELL), np.float16)
        for i in trange(0, count, 16, desc="encoding scenes", mininterval=5):
            pixels = torch.from_numpy(data.images[i : i + 16]).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
                mean = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist.mean.float()
            out[i : i + 16] = (mean * vae.config.scaling_factor).cpu().numpy()
        part = file.with_suffix(".part.npy")
        np.save(part, out)
        os.replace(part, file)
    return np.load(file)


@dataclass(frozen=True)
class Source:
    """Scenes and their latents. good: portraits, whose thing fits into a window."""

    data: Drawn
    latents: NDArray[np.float16]
    good: bool

    def caption(self, rng: Generator, things: Sequence[Named], stuff: Sequence[str]) -> str:
        if self.good:
            return good_caption(rng, things[0].word, things[0].colour, stuff)
        return caption(rng, things, stuff).replace("a good ", "a ")


def window(source: Source, i: int, rng: Generator) -> tuple[int, int, str]:
    """Corner (cells) of a window around one thing of scene i, and a caption of what it shows."""
    things = source.data.things[i]
    if not things:
        y, x = (int(v) for v in rng.integers(0, SIZE // CELL - WINDOW + 1, 2))
        return y, x, source.caption(rng, (), source.data.stuff[i])
    chosen = int(rng.integers(len(things)))
    x0, y0, x1, y1 = (v / CELL for v in things[chosen][2])
    most = SIZE // CELL - WINDOW
    loose = 1 if source.good else 3
    y = int(np.clip((y0 + y1) / 2 - WINDOW / 2 + rng.uniform(-loose, loose), 0, most))
    x = int(np.clip((x0 + x1) / 2 - WINDOW / 2 + rng.uniform(-loose, loose), 0, most))

    def share(box: list[int]) -> float:
        a, b, c, d = (v / CELL for v in box)
        seen = max(0, min(c, x + WINDOW) - max(a, x)) * max(0, min(d, y + WINDOW) - max(b, y))
        return seen / ((c - a) * (d - b))

    def middle(box: list[int]) -> tuple[float, float]:
        return (box[0] + box[2]) / 2 / CELL / WINDOW - x / WINDOW, (box[1] + box[3]) / 2 / CELL / WINDOW - y / WINDOW

    shown = [Named(THINGS[c], colour, middle(box)) for k, (c, colour, box) in enumerate(things) if k == chosen or share(box) > 0.4]
    stuff = source.data.stuff[i]
    return y, x, source.caption(rng, shown, stuff if len(stuff) < 2 else ())


def batch(source: Source, rng: Generator, windows: bool) -> tuple[Tensor, Tensor, list[str]]:
    """Latents (b, 4, h, w), the pictures they are of (b, 3, 4h, 4w) in 0..1, captions."""
    data, latents = source.data, source.latents
    picks = np.sort(rng.integers(0, len(latents), BATCH if windows else WHOLE_BATCH))
    if windows:
        corners = [window(source, i, rng) for i in picks]
    else:
        corners = [(0, 0, source.caption(rng, named_things(data.things[i]), data.stuff[i])) for i in picks]
    side = WINDOW if windows else SIZE // CELL
    cut = [latents[i][:, y : y + side, x : x + side] for i, (y, x, _) in zip(picks, corners, strict=True)]
    shown = [
        data.images[i][y * CELL : (y + side) * CELL, x * CELL : (x + side) * CELL]
        for i, (y, x, _) in zip(picks, corners, strict=True)
    ]
    pictures = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 255
    return torch.from_numpy(np.stack(cut)).float(), pictures, [text for _, _, text in corners]


def _sources(data: Drawn, coder: AutoencoderKL, output: Path, device: str, bfloat16: bool) -> tuple[Source, Source]:
    """Scenes and portraits with their latents."""
    folder = output / "training"
    portraits = render(folder / PORTRAITS, min(SCENES, len(data)), PORTRAITS_SEED, PORTRAITS)
    return (
        Source(data, cache_latents(data, coder, folder, device, bfloat16), good=False),
        Source(portraits, cache_latents(portraits, coder, folder, device, bfloat16, name=PORTRAITS), good=True),
    )


def fit(
    data: Drawn, output: Path, plan: Plan, seed: int, device: str, *, rank: int = 0, start: Path | None = None
) -> tuple[Callable[[], None], dict]:
    """Train, and return what writes the folder that StableDiffusionPipeline.from_pretrained opens."""
    tokenizer = clip_tokenizer(output / "training" / f"tokenizer-{rank}")
    coder = AutoencoderKL.from_pretrained(output / "vae", torch_dtype=torch.float32)
    coder.to(device, memory_format=torch.channels_last)
    if rank == 0:
        _sources(data, coder, output, device, plan.bfloat16)
    if dist.is_initialized():
        dist.barrier()
    scenes, portraits = _sources(data, coder, output, device, plan.bfloat16)
    torch.manual_seed(seed)
    model = Painter(tokenizer)
    if start:
        theirs = CLIPTokenizer.from_pretrained(start / "tokenizer").get_vocab()
        start_from(model.unet, start / "unet")
        start_from(model.text_encoder, start / "text_encoder", (tokenizer.get_vocab(), theirs))
    model.to(device)
    model.unet.to(memory_format=torch.channels_last)
    teacher = guide.Teacher(data, output, device)
    half_way: list[Tensor] = []
    model.unet.up_blocks[1].resnets[-1].register_forward_hook(lambda _module, _inputs, made: half_way.append(made))
    noising = schedule()
    alphas = noising.alphas_cumprod.to(device)

    def loss(rng: Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        clean, pictures, texts = batch(portraits if step % 3 else scenes, rng, windows=step < FIRST_PART * plan.steps)
        texts = ["" if rng.random() < DROPPED else text for text in texts]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
        clean = clean.to(device, memory_format=torch.channels_last)
        noise = torch.randn_like(clean)
        t = torch.from_numpy(rng.integers(0, 1000, len(clean))).to(device)
        target = noising.get_velocity(clean, noise, t)
        made = model.unet(noising.add_noise(clean, noise, t), t, model.text_encoder(tokens).last_hidden_state).sample
        snr = alphas[t] / (1 - alphas[t])
        each = F.mse_loss(made.float(), target, reduction="none").mean((1, 2, 3))
        weighted = each * snr.clamp(max=GAMMA) / (snr + 1)
        known = teacher(normalised(pictures).to(device))[1][0]
        apart = 1 - F.cosine_similarity(model.towards_guide(half_way.pop()).float(), known, dim=1).mean((1, 2))
        apart = (apart * alphas[t]).sum() / alphas[t].sum()
        return weighted.mean() + ALIGNED * apart, {"mse": float(each.detach().mean()), "apart": float(apart.detach())}

    adam_only = ("conv_in", "conv_out", "embedding", "time_emb_proj", "towards_guide")
    notes = train("diffusion", model, loss, plan, output / "training", seed=seed, adam_only=adam_only)
    first = round(FIRST_PART * plan.steps)
    return lambda: export(model, coder, tokenizer, output), notes | {"samples": first * BATCH + (plan.steps - first) * WHOLE_BATCH}


def export(model: Painter, coder: AutoencoderKL, tokenizer: CLIPTokenizer, output: Path) -> None:
    """The pipeline's folders, float16, each swapped in whole."""
    scheduler = PNDMScheduler.from_config(schedule().config, skip_prk_steps=True, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        deepcopy(coder).half(), deepcopy(model.text_encoder).half(), tokenizer, deepcopy(model.unet).half(), scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    part = output / "training" / "pipeline.part"
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part)
    for folder in ("text_encoder", "unet", "vae"):  # and no path of the machine that trained it
        declare_float32(part / folder)
    for item in part.iterdir():
        target = output / item.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)
    part.rmdir()
