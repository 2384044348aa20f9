"""The only place that loads networks: from the hub at a pinned revision, a local folder, or the package.

Only safetensors are read, never pickles, and no code from a repository is run. A preset's folder is what
``StableDiffusionPipeline.save_pretrained`` writes (``model_index.json``, ``unet``, ``vae``, ``text_encoder``,
``tokenizer``, ``scheduler``; XL also ``text_encoder_2`` and ``tokenizer_2``), with ``clip`` and ``captioner`` beside
them and, if it is wanted, ``vit``. The shipped ``mini`` is such a folder, and so may be any of the user's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from segwright.errors import InputError, SegwrightError, WeightsError, is_out_of_memory
from segwright.models import hub
from segwright.models.hub import Fetching, print_to_stderr
from segwright.models.repositories import Part, reason
from segwright.objects.calibration import FILE as CALIBRATIONS
from segwright.objects.calibration import Calibration
from segwright.presets import (
    CHOICES,
    FEW_STEPS,
    TINY_VAES,
    Preset,
    default_preset,
    faster,
    find_preset,
    preset_folder,
    with_diffusion,
)
from segwright.untrusted import decode, read_bounded

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

    from segwright.models.captioner import Captioner
    from segwright.models.clip import Clip
    from segwright.models.controlnet import ControlNet
    from segwright.models.diffusion import Diffusion
    from segwright.models.groupvit import GroupVit
    from segwright.models.sam import Sam
    from segwright.models.vit import Vit

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEVICES = ("cpu", "cuda", "mps")
SAMPLE = 1 << 20  # bytes
LOADING = (*CHOICES, "fast")  # what ``segwright.load`` takes by name


def load(
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    *,
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    diffusion: str | None = None,
    fast: bool = False,
    local_only: bool = False,
    notify: Callable[[str], None] = print_to_stderr,
) -> Networks:
    """The networks of a preset; each is read, and fetched if need be, when it is first used, and then kept.

    Args:
        preset: a name of ``PRESETS`` or a folder; ``default_preset()`` if None.
        device: "cpu", "cuda", "cuda:1", "mps"; the best there is if None.
        dtype: "float32", "bfloat16", "float16", or "auto": what the device computes fastest in (``segwright.models.units``).
        clip: another CLIP in place of the preset's, from the hub: "clip-b32", "clip-b16" or "clip-l14".
        captioner: another captioner, likewise: "blip-base" or "blip-large".
        vit: another ViT, likewise: "dinov2" or "vit".
        diffusion: another diffusion model ("sd21"), with the settings of the preset of that name that concern it.
        fast: less work for almost the same result: ``segwright.presets.faster``.
        local_only: never ask the network.
        notify: called with what is fetched and how large it is.

    Raises:
        WeightsError: unknown preset or missing folder.
        InputError: unknown device, dtype or companion.
    """
    chosen = find_preset(default_preset() if preset is None else preset)
    where = pick_device(device)
    number_type = pick_dtype(dtype, where)
    swapped: dict[str, Part] = {}
    for kind, name in (("clip", clip), ("captioner", captioner), ("vit", vit), ("diffusion", diffusion)):
        if name is not None:
            if name not in CHOICES[kind]:
                raise InputError(f"{kind} must be one of {', '.join(CHOICES[kind])}, got {name!r}")
            swapped[kind] = CHOICES[kind][name]
    if diffusion is not None:
        chosen = with_diffusion(chosen, diffusion)
        swapped |= {"tiny_vae": TINY_VAES[diffusion]} if diffusion in TINY_VAES else {}
    if fast:
        chosen = faster(chosen) if diffusion in (None, *TINY_VAES) else replace(faster(chosen), tiny=False)
    return Networks(chosen, where, number_type, swapped, local_only, notify)


def split_companions(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``segwright.load`` takes beside preset, device and dtype, and all other settings."""
    return {k: v for k, v in settings.items() if k in LOADING}, {k: v for k, v in settings.items() if k not in LOADING}


def load_controlnet(
    source: str | os.PathLike[str] | Part,
    device: str | None = None,
    dtype: str = "float32",
    *,
    local_only: bool = False,
    notify: Callable[[str], None] = print_to_stderr,
) -> ControlNet:
    """A ControlNet from a folder, or a repository on the hub at a pinned revision.

    Args:
        source: the folder, or a ``Part`` whose files are ``config.json`` and ``diffusion_pytorch_model.safetensors``.
        device: as for ``load``.
        dtype: as for ``load``.
        local_only: as for ``load``.
        notify: as for ``load``.

    Raises:
        WeightsError: it is missing, damaged or cannot be fetched.
        InputError: unknown device or dtype.
    """
    from segwright.models.controlnet import open_controlnet

    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if isinstance(source, Part):
        folder = hub.fetch(source, Fetching(DTYPES[dtype] != torch.float32, local_only, notify=notify))[0]
    else:
        folder = Path(source).expanduser()
    return open_controlnet(folder, pick_device(device), DTYPES[dtype])


def pick_device(device: str | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, else MPS, else the CPU.

    Raises:
        InputError: unknown, or not in this machine.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is None:
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if there[d]))
    name, _, number = device.partition(":")
    if name not in DEVICES or (number and not number.isdecimal()):
        raise InputError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if not there[name] or (name == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise InputError(f"this machine has no device {device!r}; leave it out for {pick_device()}")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The number type of that name.

    Args:
        dtype: of ``DTYPES``, or "auto".

    Raises:
        InputError: another name.
    """
    from segwright.models.units import fastest

    if dtype != "auto" and dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)} or auto, got {dtype!r}")
    return DTYPES[fastest(device) if dtype == "auto" else dtype]


@dataclass(frozen=True)
class Networks:
    """A preset's networks, each loaded once, when it is first asked for. ``load`` makes it."""

    preset: Preset
    device: torch.device
    dtype: torch.dtype
    swapped: dict[str, Part] = field(default_factory=dict)
    local_only: bool = False
    notify: Callable[[str], None] = print_to_stderr

    def part(self, network: str) -> Part | None:
        """The repository that a network comes from; None: from the preset's folder."""
        return self.swapped.get(network) or self.preset.parts.get(network)

    def parts(self, networks: Sequence[str], generator: str | None = None) -> list[Part]:
        """The repositories of several networks and what comes with them; none for those of a folder. Otherwise as ``prepare``."""
        wanted = [self.part(network) for network in self.preset.companions(networks)]
        wanted += [self.generator(generator).part("diffusion")] if generator is not None else []
        return [part for part in wanted if part is not None]

    def prepare(self, networks: Sequence[str], verify: bool = False, generator: str | None = None) -> None:
        """Fetch all that is lacking of several networks, with one progress bar, and see that a folder preset has them.

        Args:
            verify: compare what is there already with its checksums.
            generator: and the weights of this name, of ``segwright.presets.FEW_STEPS``.

        Raises:
            WeightsError: one of them cannot be had.
        """
        if parts := self.parts(networks, generator):
            hub.fetch(parts, replace(self._fetching, verify=verify))
        for network in self.preset.companions(networks):
            self.require(network)

    def generator(self, name: str | None) -> Networks:
        """The networks with few-step weights as their diffusion model, opened once; the same networks for None.

        Args:
            name: of ``segwright.presets.FEW_STEPS``; a folder preset may have them as its folder of that name.

        Raises:
            InputError: no such weights.
        """
        if name is None:
            return self
        if name not in FEW_STEPS:
            raise InputError(f"generator must be one of {', '.join(FEW_STEPS)}, got {name!r}")
        if name not in self._generators:
            chosen, swapped = replace(self.preset, tiny=False), self.swapped | {"diffusion": FEW_STEPS[name].part}
            own = Path(self.preset.name).expanduser() / name
            if not self.preset.parts and (own / "model_index.json").is_file():
                chosen, swapped = replace(chosen, name=str(own)), {k: p for k, p in self.swapped.items() if k != "diffusion"}
            self._generators[name] = replace(self, preset=chosen, swapped=swapped)
        return self._generators[name]

    @cached_property
    def _generators(self) -> dict[str, Networks]:
        return {}

    def folder(self, network: str) -> Path:
        """Where "diffusion", "clip", "captioner" or "vit" lies on disk, fetched first if need be.

        Raises:
            WeightsError: it is not there and cannot be fetched.
        """
        part = self.part(network)
        if part is not None:
            return hub.fetch(part, self._fetching)[0]
        root = preset_folder(self.preset)
        return root if network == "diffusion" else root / network

    def identity(self, network: str) -> str:
        """What tells these weights from others: repository and commit as loaded, or a checksum over the folder's weight files.

        The commit is known once the weights are on this machine, so they are fetched if need be. The checksum is of each
        file's name, size and first and last megabyte. How a fast preset runs them is part of it.
        """
        own = self._weights(network)
        if network == "diffusion" and self.preset.tiny:
            own += f", photos encoded by {self._weights('tiny_vae')}"
        if network == "captioner" and self.preset.beams:
            own += f", {self.preset.beams} beams"
        return own

    def _weights(self, network: str) -> str:
        if self.part(network) is not None:
            folder = self.folder(network)
            halved = any(folder.rglob("*.fp16.safetensors")) and not any(folder.rglob("*model.safetensors"))
            return f"{hub.source(folder)}{' fp16' if halved else ''}"
        folder, digest = self.folder(network), hashlib.sha256()
        parts = ("unet", "vae", "text_encoder", "text_encoder_2") if network == "diffusion" else ("",)
        for path in sorted(p for name in parts for p in (folder / name).glob("*.safetensors")):
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            with open(path, "rb") as file:
                digest.update(file.read(SAMPLE))
                file.seek(max(0, path.stat().st_size - SAMPLE))
                digest.update(file.read())
        return f"sha256:{digest.hexdigest()[:16]}"

    @cached_property
    def diffusion(self) -> Diffusion:
        opened = self._open("diffusion")
        if self.preset.tiny:
            opened.use_encoder(self.tiny_vae)
        return opened

    @cached_property
    def tiny_vae(self) -> AutoencoderTiny:
        return self._open("tiny_vae")

    @cached_property
    def clip(self) -> Clip:
        return self._open("clip")

    @cached_property
    def captioner(self) -> Captioner:
        opened = self._open("captioner")
        opened.beams = self.preset.beams or opened.beams
        return opened

    @cached_property
    def vit(self) -> Vit:
        return self._open("vit")

    @cached_property
    def dino(self) -> Vit:
        return self._open("dino")

    @cached_property
    def mae(self) -> Vit:
        return self._open("mae")

    @cached_property
    def sam(self) -> Sam:
        return self._open("sam")

    @cached_property
    def groupvit(self) -> GroupVit:
        return self._open("groupvit")

    def require(self, network: str) -> None:
        """Refuse a folder that lacks one of the networks that not every folder has; nothing is fetched or read.

        Raises:
            WeightsError: it is not there.
        """
        if network == "diffusion" or self.part(network) is not None:
            return
        if not self.preset.parts and (preset_folder(self.preset) / network / "config.json").is_file():
            return
        raise WeightsError(
            f"preset {self.preset.name!r} has no {network}; choose another preset (sd15 fetches one), "
            f"or put one into a folder preset as its folder {network!r}"
        )

    def calibration(self, method: str) -> Calibration | None:
        """The map of a method's confidence that was fitted with these very networks; None: there is none.

        Raises:
            WeightsError: the preset's file of them is damaged.
        """
        return self._calibrations.get(method)

    @cached_property
    def _calibrations(self) -> dict[str, Calibration]:
        if self.preset.parts or self.swapped:
            return {}
        path = preset_folder(self.preset) / CALIBRATIONS
        try:
            found = decode(read_bounded(path), dict[str, Calibration])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise WeightsError(f"{str(path)!r} cannot be read ({error}); make it again, or take it out") from None
        return {name: one for name, one in found.items() if all(self.identity(k) == known for k, known in one.networks.items())}

    @property
    def _fetching(self) -> Fetching:
        return Fetching(half=self.dtype != torch.float32, local_only=self.local_only, notify=self.notify)

    def _open(self, network: str) -> Any:
        from segwright.models import opening

        folder = self.folder(network)
        try:
            return opening.OPENERS[network](folder, self.device, self.dtype)
        except Exception as error:  # configurations of wrong types: the libraries raise nearly anything
            if isinstance(error, SegwrightError) or is_out_of_memory(error):
                raise
            raise WeightsError(f"the {network} in {str(folder)!r} cannot be opened ({reason(error)}); {opening.MEND}") from error
