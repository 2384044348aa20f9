"""Train the miniature preset, stage by stage, and write it in the hub's folder layout."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from segwright.errors import InputError
from segwright.mini.train.data import Drawn, render
from segwright.mini.train.loop import Plan
from segwright.mini.train.stages import STAGES, Stage

SCENES = 40_000
SCENES_SEED = 0  # of the training scenes; ``seed`` is that of weights, order and noise


@dataclass(frozen=True)
class Settings:
    """What ``segwright mini train`` is asked for.

    Attributes:
        output: the preset's folder; its subfolder ``training`` keeps scenes and checkpoints and may be deleted later.
        minutes: nominal, on one core of the machine of docs/mini.md: it fixes the number of steps, so that a seed gives the
            same weights however fast the machine is. None: each stage's own. ``steps`` overrides it for a single stage.
        start: a preset's folder whose weights a stage begins with, where names and shapes agree.
        bfloat16: autocast; None: on CUDA only.
        scenes_folder: where the training scenes lie; None: in ``training``. Stages that run side by side share them.
    """

    output: Path
    stage: str = "all"
    minutes: float | None = None
    device: str = "cpu"
    seed: int = 0
    scenes: int = SCENES
    processes: int = 1
    steps: int | None = None
    start: Path | None = None
    bfloat16: bool | None = None
    scenes_folder: Path | None = None

    @property
    def training(self) -> Path:
        return self.output / "training"


def train_preset(settings: Settings) -> None:
    """Train the stages asked for; each resumes from its last checkpoint, and is exported when it is done.

    Raises:
        InputError: unknown stage, a stage whose foundation is missing, or too short a time.
    """
    if settings.stage not in (*STAGES, "all"):
        raise InputError(f"stage must be one of {', '.join(STAGES)} or all, got {settings.stage!r}")
    if (settings.minutes or 1) <= 0 or settings.processes < 1 or (settings.steps is not None and settings.steps < 1):
        raise InputError("minutes, steps and processes must be positive")
    if settings.start is not None and not settings.start.is_dir():
        raise InputError(f"--start names a preset's folder, but {settings.start} is none")
    _scenes(settings)
    if settings.processes == 1:
        _work(0, settings, 0)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_work, (settings, port), settings.processes, daemon=True)  # they end with this process, whatever ends it


def _scenes(settings: Settings) -> Drawn:
    return render(settings.scenes_folder or settings.training / "scenes", settings.scenes, SCENES_SEED)


def _work(rank: int, settings: Settings, port: int) -> None:
    if settings.processes > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=settings.processes)
    data = _scenes(settings)
    for name in STAGES if settings.stage == "all" else (settings.stage,):
        _run(STAGES[name], name, settings, data, rank)
    if settings.processes > 1:
        dist.destroy_process_group()


def _run(stage: Stage, name: str, settings: Settings, data: Drawn, rank: int) -> None:
    for folder in stage.needs:
        if not (settings.output / folder).exists():
            raise InputError(f"stage {name} needs {settings.output / folder}; train that first (or --stage all)")
    steps = settings.steps or max(1, round((settings.minutes or stage.minutes) * stage.steps_a_minute))
    bfloat16 = settings.device.startswith("cuda") if settings.bfloat16 is None else settings.bfloat16
    plan = Plan(steps, bfloat16=bfloat16, **stage.plan)
    started = settings.start if settings.start and stage.folder and (settings.start / stage.folder).is_dir() else None
    export, notes = stage.fit(data, settings.output, plan, settings.seed, settings.device, rank=rank, start=started)
    if rank == 0:
        with torch.no_grad():
            export()
        facts = {"seed": settings.seed, "scenes": settings.scenes, "device": settings.device, "bfloat16": bfloat16}
        facts["processes"] = settings.processes  # steps, seconds and samples are of one of them
        _remember(settings.output, name, notes | facts | ({"started": True} if started else {}))


def _remember(output: Path, stage: str, notes: dict[str, Any]) -> None:
    path = output / "training.json"
    known = json.loads(path.read_text("utf8")) if path.is_file() else {}
    part = path.with_name(f"training.{stage}.part")
    part.write_text(json.dumps(known | {stage: notes}, indent=1) + "\n", "utf8")
    os.replace(part, path)
