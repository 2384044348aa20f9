"""What a user gets on this machine: seconds of every step beside the counted floor, and memory. ``segwright bench``."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from segwright.errors import InputError, is_out_of_memory
from segwright.fetching import needs, targets
from segwright.files.record import versions
from segwright.methods import DEFAULT, find_method
from segwright.methods.base import Method, MethodSpec
from segwright.refine import REFINERS
from segwright.selfcheck import random_networks
from segwright.selfcheck.floor import Meter, parts, rate
from segwright.types import Image, Scores
from segwright.weights import Networks, load, pick_device, pick_dtype

CAPTION = "a dog and a cat on a sofa beside a person"  # what random networks say: their own words would mean nothing
WORDS = ("dog", "cat", "sofa", "person")
RANDOM = ("sd15", "sd21")  # presets whose sizes ``random`` knows
REST, ALL, REFINED = "all else", "all", "refinement"


@dataclass(frozen=True)
class Row:
    """One step of one target at one batch size, a photo; medians.

    Attributes:
        target: a method, "METHOD, a word" (what it makes once for a word), or a refiner.
        step: a network's part, "refinement", "all else" (regions, resizing, Python), or "all".
        seconds: of the wall.
        busy: of the processor, all threads; what counts where other programs run.
        flop: floating-point operations; of matrix products, convolutions and attention alone.
        floor: seconds that these take at the device's rate of large products; on the CPU of the processor, as ``busy``.
        share: of the floor in ``busy`` on the CPU, in ``seconds`` elsewhere; 0 where nothing was counted.
        memory: peak bytes, of the device (CUDA) or of the process, from its start on; in rows "all" only.
        failed: why there are no figures.
    """

    target: str
    batch: int
    step: str
    seconds: float = 0.0
    busy: float = 0.0
    flop: float = 0.0
    floor: float = 0.0
    share: float = 0.0
    memory: int = 0
    failed: str = ""


@dataclass(frozen=True)
class Bench:
    """How to measure.

    Attributes:
        batches: photos at once.
        repeats: of each; the median counts.
        side: pixels a side of the photos, which are drawn.
        texts: settings of the method, as ``--set`` takes them.
        random: networks of the preset's size with random weights, nothing fetched; ``RANDOM`` presets.
        fast: as for ``segwright.load``.
    """

    batches: tuple[int, ...] = (1,)
    repeats: int = 3
    side: int = 512
    texts: tuple[str, ...] = ()
    random: bool = False
    fast: bool = False

    def __post_init__(self) -> None:
        if min(self.batches, default=0) < 1 or self.repeats < 1 or self.side < 16:
            raise InputError(f"batches and repeats must be 1 or more and the side 16 or more, got {self}")


def bench(
    preset: str | os.PathLike[str] | None = None,
    method: str | Sequence[str] = DEFAULT,
    device: str | None = None,
    dtype: str = "float32",
    how: Bench | None = None,
) -> Iterator[Row]:
    """Measure methods and refiners; rows come as they are made.

    Each is run once to warm up and to count its operations, then ``repeats`` times.

    Args:
        preset: as for ``segwright.load``.
        method: one or several methods, and refiners by their names (on four drawn labels).
        device: as for ``segwright.load``.
        dtype: likewise.

    Raises:
        InputError: an unknown name, or numbers that cannot be.
        WeightsError: weights that cannot be had.
    """
    how, chosen = how or Bench(), (method,) if isinstance(method, str) else tuple(method)
    if unknown := [name for name in chosen if name not in (*targets(), *REFINERS)]:
        raise InputError(f"what to measure must be one of {', '.join(dict.fromkeys((*targets(), *REFINERS)))}, got {unknown[0]!r}")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            yield from _target(name, preset, device, dtype, how, folder=Path(folder))


def machine(device: str | None = None, dtype: str = "float32") -> dict[str, Any]:
    """What was measured on, and its rate of large products (``segwright.selfcheck.floor.rate``), ready for JSON."""
    where = pick_device(device)
    number = pick_dtype(dtype, where)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.processor() or platform.machine()
    facts = {"device": str(where), "name": name, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    about = {"dtype": str(number).removeprefix("torch."), "versions": versions(), "load": _load()}
    return facts | about | {"rate": rate(where, number)}


def table(rows: Sequence[Row]) -> str:
    """Rows for people."""
    lines = [f"{'':24} {'batch':>5} {'step':18} {'s':>8} {'cpu s':>8} {'TFLOP':>8} {'floor s':>8} {'share':>6} {'GiB':>6}"]
    for row in rows:
        if row.failed:
            lines.append(f"{row.target:24} {row.batch:5} {row.failed}")
            continue
        share = f"{row.share:6.0%}" if row.flop else f"{'':6}"
        memory = f"{row.memory / 2**30:6.2f}" if row.memory else ""
        figures = f"{row.seconds:8.3f} {row.busy:8.3f} {row.flop / 1e12:8.3f} {row.floor:8.3f} {share} {memory}"
        lines.append(f"{row.target:24} {row.batch:5} {row.step:18} {figures}".rstrip())
    return "\n".join(lines)


def as_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows ready for JSON."""
    return [asdict(row) for row in rows]


def _target(name: str, preset: Any, device: str | None, dtype: str, how: Bench, *, folder: Path) -> Iterator[Row]:
    networks = _networks(name, preset, device, dtype, how)
    speed = rate(networks.device, networks.dtype)
    works = _refiner(name, networks, how) if name in REFINERS else _method(name, networks, how, folder)
    for target, batch, work, kinds in works:
        yield from _measured(target, batch, work, _modules(networks, kinds), networks.device, how=how, speed=speed)


Run = dict[str, tuple[float, float]]  # step -> seconds of the wall and of the processor
# Target, photos, what is timed (called with the number of the run), the networks that it runs on.
Work = tuple[str, int, Callable[[int], object], tuple[str, ...]]


def _method(name: str, networks: Networks, how: Bench, folder: Path) -> Iterator[Work]:
    spec = MethodSpec(name).with_texts(how.texts)
    extras = dict(spec.extras) | ({"bank": folder / name} if "bank" in spec.kind.options else {})
    method = spec.kind.on(networks, **extras, **spec.settings)
    kinds, words = method.uses(), [*WORDS]
    if spec.kind.prepare is not Method.prepare:
        words = [f"thing {number}" for number in range(how.repeats + 1)]  # each is made once, so that every run needs another
        yield f"{name}, a word", 1, lambda number: method.prepare([words[number]]), kinds
    for batch in how.batches:
        images = [_photo(how.side, seed) for seed in range(batch)]
        yield name, batch, partial(_many, method, images, words), kinds


def _many(method: Method, images: Sequence[Image], words: Sequence[str], _run: int) -> object:
    return method.many(images, words)


def _refiner(name: str, networks: Networks, how: Bench) -> Iterator[Work]:
    refiner, image = REFINERS[name](), _photo(how.side, 0)
    coarse = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    wide = torch.nn.functional.interpolate(coarse * 4, (how.side, how.side), mode="bilinear")[0].softmax(0)
    scores = Scores(WORDS, (0, 1, 2, 3), wide.to(networks.device))
    yield name, 1, lambda _: refiner(image, scores, networks), refiner.kinds


def _networks(name: str, preset: Any, device: str | None, dtype: str, how: Bench) -> Networks:
    if not how.random:
        opened = load if name in REFINERS else find_method(name).open_networks
        networks = opened(preset, device, dtype, fast=how.fast)
        if name not in REFINERS or REFINERS[name].kinds:
            networks.prepare(needs(name, networks.preset))
        return networks
    if (preset or RANDOM[0]) not in RANDOM:
        raise InputError(f"random networks are made in the size of {' or '.join(RANDOM)}, got {str(preset)!r}")
    where = pick_device(device)
    number = pick_dtype(dtype, where)
    if preset == "sd21":
        return random_networks.sd21(number, str(where))
    made = random_networks.networks(number, device=str(where), fast=how.fast)
    caption = made.captioner.caption
    vars(made.captioner)["caption"] = lambda images, *more, **named: [CAPTION for _ in caption(images, *more, **named)]
    return made


def _modules(networks: Networks, kinds: Sequence[str]) -> dict[str, torch.nn.Module]:
    found: dict[str, torch.nn.Module] = {}
    for kind in kinds:
        found |= parts(kind, getattr(networks, kind))
    return found


def _measured(
    target: str, batch: int, work: Callable[[int], object], modules: dict[str, torch.nn.Module], device: torch.device, *,
    how: Bench, speed: float,
) -> Iterator[Row]:  # fmt: skip
    meter, refined = Meter(device), Method.refined

    def timed(self: Method, image: Image, scores: Scores) -> Scores:
        with meter.step(REFINED):
            return refined(self, image, scores)

    _forget_peak(device)
    runs: list[Run] = []
    try:
        with meter.watching(modules), patch.object(Method, "refined", timed):
            with meter.counting():
                work(0)
            for number in range(1, how.repeats + 1):
                meter.clear()
                with meter.step(ALL):
                    work(number)
                runs.append({step: (meter.seconds[step], meter.busy[step]) for step in meter.seconds})
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        yield Row(target, batch, ALL, failed="more memory is needed than there is")
        return
    yield from _rows(target, batch, runs, meter.flop, speed, memory=_peak(device), on_cpu=device.type == "cpu")


def _rows(
    target: str, batch: int, runs: Sequence[Run], flop: dict[str, int], speed: float, *, memory: int, on_cpu: bool
) -> Iterator[Row]:
    def median(step: str, place: int) -> float:
        return statistics.median(run.get(step, (0.0, 0.0))[place] for run in runs) / batch

    def counted(step: str, operations: float) -> Row:
        seconds, busy, floor = median(step, 0), median(step, 1), operations / speed
        share = floor / max(1e-9, busy if on_cpu else seconds)
        return Row(target, batch, step, seconds, busy, operations, floor, share)

    steps = [step for step in dict.fromkeys(step for run in runs for step in run) if step != ALL]
    yield from (counted(step, flop.get(step, 0) / batch) for step in steps)
    rest = [statistics.median(run[ALL][k] - sum(run[s][k] for s in steps if s in run) for run in runs) / batch for k in (0, 1)]
    yield Row(target, batch, REST, max(0.0, rest[0]), max(0.0, rest[1]))
    yield replace(counted(ALL, sum(flop.get(step, 0) for step in steps) / batch), memory=memory)


def _photo(side: int, seed: int) -> Image:
    """(side, side, 3) uint8: smooth colours with some grain."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(1, 3, 6, 6, generator=generator) * 255
    wide = torch.nn.functional.interpolate(colours, (side, side), mode="bicubic")[0]
    grain = torch.randn(3, side, side, generator=generator) * 8
    return np.ascontiguousarray((wide + grain).clamp(0, 255).byte().permute(1, 2, 0).numpy())


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def _load() -> float:
    """Programs that want a core, the last minute's mean; figures of a busy machine are not the machine's."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0
