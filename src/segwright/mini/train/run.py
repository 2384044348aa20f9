"""Train the miniature preset, stage by stage, and write it in the hub's folder layout."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
from torch.multiprocessing.spawn import spawn
from transformers import BlipImageProcessor, CLIPImageProcessor, CLIPModel, CLIPTokenizer, PreTrainedModel

from segwright.errors import InputError
from segwright.mini.train import captioner, clip, diffusion, vae
from segwright.mini.train.data import Drawn, render
from segwright.mini.train.tokens import bert_tokenizer, clip_tokenizer

STAGES = ("clip", "vae", "diffusion", "captioner")
SHARES = {"clip": 0.3, "vae": 0.14, "diffusion": 0.4, "captioner": 0.16}  # of --minutes, for all stages together
SCENES = 40_000


@dataclass(frozen=True)
class Settings:
    """output: the preset's folder; its subfolder ``training`` keeps scenes and checkpoints and may be deleted later.

    minutes: nominal, on one core of an ordinary machine: it fixes the number of steps, so that a seed gives the same
    weights however fast the machine is. ``steps`` overrides it for a single stage.
    """

    output: Path
    stage: str = "all"
    minutes: float = 180.0
    device: str = "cpu"
    seed: int = 0
    scenes: int = SCENES
    processes: int = 1
    steps: int | None = None
    font: str | None = None


def train_preset(settings: Settings) -> None:
    """Train the stages asked for; each goes on from its last checkpoint, and is exported when it is done.

    Raises:
        InputError: unknown stage, a stage whose foundation is missing, or too short a time.
    """
    if settings.stage not in (*STAGES, "all"):
        raise InputError(f"stage must be one of {', '.join(STAGES)} or all, got {settings.stage!r}")
    if settings.minutes <= 0 or settings.processes < 1 or (settings.steps is not None and settings.steps < 1):
        raise InputError("minutes, steps and processes must be positive; --minutes 180 trains the whole set")
    render(settings.output / "training" / "scenes", settings.scenes, settings.seed, font=settings.font)
    if settings.processes == 1:
        _work(0, settings, 0)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_work, (settings, port), settings.processes)


def _work(rank: int, settings: Settings, port: int) -> None:
    if settings.processes > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=settings.processes)
    data = render(settings.output / "training" / "scenes", settings.scenes, settings.seed, font=settings.font)
    for stage in STAGES if settings.stage == "all" else (settings.stage,):
        minutes = settings.minutes * (SHARES[stage] if settings.stage == "all" else 1.0)
        notes = RUNNERS[stage](settings, data, minutes, rank)
        if rank == 0:
            _remember(settings.output, stage, notes | {"seed": settings.seed, "scenes": settings.scenes, "device": settings.device})
    if settings.processes > 1:
        dist.destroy_process_group()


def _remember(output: Path, stage: str, notes: dict) -> None:
    path = output / "training.json"
    known = json.loads(path.read_text("utf8")) if path.is_file() else {}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(known | {stage: notes}, indent=1) + "\n", "utf8")
    os.replace(part, path)


def _save_model(model: PreTrainedModel | AutoencoderKL, folder: Path) -> None:
    """float16 copy, written beside and then renamed."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    kind = type(model)
    copy = kind.from_config(model.config) if isinstance(model, AutoencoderKL) else kind(model.config)
    copy.load_state_dict(model.state_dict())
    copy.half().save_pretrained(part)
    _declare_float32(part)
    if folder.is_dir():
        for old in part.iterdir():
            os.replace(old, folder / old.name)
        part.rmdir()
    else:
        os.replace(part, folder)


def _declare_float32(folder: Path) -> None:
    """Weights lie in float16 to be small, but load as float32 unless asked otherwise (transformers goes by the config)."""
    file = folder / "config.json"
    settings = json.loads(file.read_text("utf8"))
    for part in (settings, settings.get("text_config", {}), settings.get("vision_config", {})):
        if "dtype" in part:
            part["dtype"] = "float32"
    file.write_text(json.dumps(settings, indent=2) + "\n", "utf8")


def _need(path: Path, stage: str) -> Path:
    if not path.exists():
        raise InputError(f"{path} is missing; train the stage {stage} first (--stage {stage}, or --stage all)")
    return path


def _clip(settings: Settings, data: Drawn, minutes: float, rank: int) -> dict:
    folder = settings.output / "clip"
    tokenizer = clip_tokenizer(settings.output / "training" / f"tokenizer-{rank}")
    model, notes = clip.fit(data, tokenizer, settings.output / "training", minutes, settings.seed, settings.device, settings.steps)
    if rank == 0:
        _save_model(model, folder)
        tokenizer.save_pretrained(str(folder))
        processor(CLIPImageProcessor).save_pretrained(str(folder))
    return notes


def processor(kind: Callable[..., CLIPImageProcessor | BlipImageProcessor]) -> CLIPImageProcessor | BlipImageProcessor:
    size = {"height": 96, "width": 96}
    return kind(size=size, crop_size=size, do_center_crop=False, resample=3, image_mean=list(clip.MEAN), image_std=list(clip.STD))


def _captioner(settings: Settings, data: Drawn, minutes: float, rank: int) -> dict:
    folder = settings.output / "captioner"
    tokenizer = bert_tokenizer(settings.output / "training" / f"words-{rank}")
    seen = CLIPModel.from_pretrained(_need(settings.output / "clip", "clip"), dtype=torch.float32)
    model, notes = captioner.fit(
        data, tokenizer, seen, settings.output / "training", minutes, settings.seed, settings.device, settings.steps
    )
    if rank == 0:
        _save_model(model, folder)
        tokenizer.save_pretrained(str(folder))
        processor(BlipImageProcessor).save_pretrained(str(folder))
    return notes


def _vae(settings: Settings, data: Drawn, minutes: float, rank: int) -> dict:
    model, notes = vae.fit(data, settings.output / "training", minutes, settings.seed, settings.device, settings.steps)
    if rank == 0:
        _save_model(model, settings.output / "vae")
    return notes


def _diffusion(settings: Settings, data: Drawn, minutes: float, rank: int) -> dict:
    tokenizer = clip_tokenizer(settings.output / "training" / f"tokenizer-{rank}")
    coder = AutoencoderKL.from_pretrained(_need(settings.output / "vae", "vae"), torch_dtype=torch.float32)
    coder.to(settings.device, memory_format=torch.channels_last)
    if rank == 0:
        diffusion.cache_latents(data, coder, settings.output / "training", settings.device)
    if dist.is_initialized():
        dist.barrier()
    model, notes = diffusion.fit(
        data, tokenizer, coder, settings.output / "training", minutes, settings.seed, settings.device, settings.steps
    )
    if rank == 0:
        export_pipeline(model, coder, tokenizer, settings.output)
    return notes


def export_pipeline(model: diffusion.Painter, coder: AutoencoderKL, tokenizer: CLIPTokenizer, output: Path) -> None:
    """The folder that StableDiffusionPipeline.from_pretrained opens."""
    scheduler = PNDMScheduler.from_config(diffusion.schedule().config, skip_prk_steps=True, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        coder.half(), model.text_encoder.half(), tokenizer, model.unet.half(), scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    part = output / "training" / "pipeline.part"
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part)
    _declare_float32(part / "text_encoder")
    for item in part.iterdir():
        target = output / item.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)
    part.rmdir()


RUNNERS: dict[str, Callable[[Settings, Drawn, float, int], dict]] = {
    "clip": _clip, "vae": _vae, "diffusion": _diffusion, "captioner": _captioner,
}  # fmt: skip
