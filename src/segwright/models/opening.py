"""Reading networks from a folder in the hub's layout; used by ``segwright.weights`` alone.

Folders only, so nothing here can ask the network. safetensors only, no code from the folder, and a network whose
weights do not all come from its file is refused: the libraries would fill the gaps with random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from segwright.errors import SegwrightError, WeightsError, is_out_of_memory
from segwright.models.pixels import Pixels
from segwright.models.repositories import reason
from segwright.untrusted import decode_object, read_bounded

MEND = "segwright fetch PRESET fetches damaged files of a preset again; copy those of a folder of your own again"


def open_diffusion(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """``segwright.models.diffusion.Diffusion`` from a Stable Diffusion folder.

    float16 overflows in most autoencoders (``force_upcast`` in their config, which is the default): that part then
    stays in float32.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    from segwright.models.diffusion import Diffusion

    index = read_json(folder / "model_index.json")
    if "unet" not in index or "vae" not in index:
        raise WeightsError(f"{folder / 'model_index.json'} describes no Stable Diffusion pipeline (unet, vae ...)")
    numbers = [n for n in ("", "_2") if (index.get(f"text_encoder{n}") or [None])[0] is not None]
    schedule = read_json(folder / "scheduler" / "scheduler_config.json")
    with _quiet():
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        unet = _diffusers(UNet2DConditionModel, folder / "unet", dtype)
        upcast = dtype == torch.float16 and read_json(folder / "vae" / "config.json").get("force_upcast", True)
        vae = _diffusers(AutoencoderKL, folder / "vae", torch.float32 if upcast else dtype)
        kinds = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}
        classes = [kinds.get(index[f"text_encoder{n}"][1], CLIPTextModel) for n in numbers]
        encoders = [_transformers(c, folder / f"text_encoder{n}", dtype) for c, n in zip(classes, numbers, strict=True)]
        tokenizers = [_tokenizer("CLIPTokenizer", folder / f"tokenizer{n}") for n in numbers]
    _check_width(folder, unet, encoders)
    for network in (unet, vae):  # convolutions are faster with channels last, most of all below float32
        network.to(device, memory_format=torch.channels_last)
    with _mended(folder / "scheduler" / "scheduler_config.json"):
        return Diffusion(unet, vae, [e.to(device) for e in encoders], tokenizers, schedule)


def open_tiny_vae(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A diffusers ``AutoencoderTiny``.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    return open_diffusers("AutoencoderTiny", folder, dtype).to(device, memory_format=torch.channels_last)


def open_clip(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """``segwright.models.clip.Clip``.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    from segwright.models.clip import Clip

    with _quiet():
        from transformers import CLIPModel

        model = _transformers(CLIPModel, folder, dtype)
        return Clip(model.to(device), _tokenizer("CLIPTokenizer", folder), _pixels(folder))


def open_captioner(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """``segwright.models.captioner.Captioner``: BLIP's, or BLIP-2's.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    from segwright.models.captioner import Captioner

    config = read_json(folder / "config.json")
    if config.get("model_type") == "blip-2":
        return _open_blip2(folder, config, device, dtype)
    with _quiet():
        from transformers import BlipForConditionalGeneration

        model = _transformers(BlipForConditionalGeneration, folder, dtype)
        return Captioner(model.to(device), _tokenizer("BertTokenizer", folder), _pixels(folder))


def _open_blip2(folder: Path, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    from segwright.models.blip2 import Blip2Captioner

    family = dict(config.get("text_config") or {}).get("model_type")
    if family != "opt":
        raise WeightsError(f"{folder / 'config.json'} is a BLIP-2 with {family!r}; only those with OPT are known")
    with _quiet():
        from transformers import Blip2ForConditionalGeneration

        model = _transformers(Blip2ForConditionalGeneration, folder, dtype)
        return Blip2Captioner(model.to(device), _tokenizer("GPT2Tokenizer", folder), _pixels(folder))


def open_vit(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """``segwright.models.vit.Vit``, of the ViT (DINO too), DINOv2 or MAE family.

    Raises:
        WeightsError: something is missing, damaged, does not fit or is of another family.
    """
    from segwright.models.vit import Vit

    family = read_json(folder / "config.json").get("model_type")
    with _quiet():
        from transformers import Dinov2Model, Dinov2WithRegistersModel, ViTMAEModel, ViTModel

        kinds: dict[str, Any] = {
            "vit": ViTModel, "dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel, "vit_mae": ViTMAEModel,
        }  # fmt: skip
        if family not in kinds:
            raise WeightsError(f"{folder / 'config.json'} is of type {family!r}; as a backbone {', '.join(kinds)} are known")
        options: dict[str, dict[str, Any]] = {"vit": {"add_pooling_layer": False}, "vit_mae": {"mask_ratio": 0.0}}
        return Vit(_transformers(kinds[family], folder, dtype, **options.get(str(family), {})).to(device), _pixels(folder))


def open_sam(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """``segwright.models.sam.Sam``.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    from segwright.models.sam import Sam

    with _quiet():
        from transformers import SamModel

        model = _transformers(SamModel, folder, dtype)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return Sam(model.to(device), Pixels(int(model.config.vision_config.image_size), mean, std, "bilinear"))


def open_groupvit(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """``segwright.models.groupvit.GroupVit``.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    from segwright.models.groupvit import GroupVit

    with _quiet():
        from transformers import GroupViTModel

        model = _transformers(GroupViTModel, folder, dtype)
        return GroupVit(model.to(device), _tokenizer("CLIPTokenizer", folder), _pixels(folder))


OPENERS: dict[str, Callable[[Path, torch.device, torch.dtype], Any]] = {
    "diffusion": open_diffusion,
    "tiny_vae": open_tiny_vae,
    "clip": open_clip,
    "captioner": open_captioner,
    "vit": open_vit,
    "dino": open_vit,
    "mae": open_vit,
    "sam": open_sam,
    "groupvit": open_groupvit,
}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        WeightsError: missing, or no such thing.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing from the weights folder; {MEND}")
    try:
        return decode_object(read_bounded(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({reason(error)}); {MEND}") from error


def _pixels(folder: Path) -> Pixels:
    path = folder / "preprocessor_config.json"
    config = read_json(path)
    with _mended(path):
        return Pixels.from_config(config)


def _diffusers(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    path, variant = _weights(folder, "diffusion_pytorch_model")
    with _mended(path):
        model, info = kind.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, variant=variant, output_loading_info=True
        )
    return _frozen(model, info, path)


def open_diffusers(name: str, folder: Path, dtype: torch.dtype) -> Any:
    """A diffusers model of that class, on the CPU, frozen.

    Raises:
        WeightsError: something is missing, damaged or does not fit.
    """
    with _quiet():
        import diffusers

        return _diffusers(getattr(diffusers, name), folder, dtype)


def _transformers(kind: Any, folder: Path, dtype: torch.dtype, **extra: Any) -> Any:
    path, variant = _weights(folder, "model")
    with _mended(path):
        model, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            variant=variant,
            output_loading_info=True,
            **extra,
        )
    return _frozen(model, info, path)


def _frozen(model: Any, info: Mapping[str, Any], path: Path) -> Any:
    """The model for use only, if each of its weights came from the file."""
    lacking = [*info.get("missing_keys", ()), *info.get("mismatched_keys", ())]
    if lacking:
        raise WeightsError(
            f"{path} does not fit its config.json: {len(lacking)} weights are missing or of another shape "
            f"(first: {sorted(map(str, lacking))[0]}); {MEND}"
        )
    return model.eval().requires_grad_(False)


def _weights(folder: Path, stem: str) -> tuple[Path, str | None]:
    """The safetensors file, whole (or the first of several), beside a config.json; "fp16" if it is there in half precision only."""
    read_json(folder / "config.json")
    variant = None if _names(folder, f"{stem}.safetensors") or not _names(folder, f"{stem}.fp16.safetensors") else "fp16"
    names = _names(folder, f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors")
    for path in (folder / name for name in names or [f"{stem}.safetensors"]):
        _check_whole(path)
    return folder / names[0], variant


def _names(folder: Path, name: str) -> list[str]:
    """Files that hold the weights, by the index of several or one; empty: none."""
    stem = name.removesuffix(".safetensors")
    head, _, variant = stem.partition(".")
    for index in (folder / f"{stem}.safetensors.index.json", folder / f"{head}.safetensors.index.{variant}.json"):
        if index.is_file():
            return sorted(set(read_json(index).get("weight_map", {}).values()))
    return [name] if (folder / name).exists() else []


def _check_whole(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path} is missing from the weights folder (only safetensors are loaded); {MEND}")
    try:
        with safe_open(path, "pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or cut short ({reason(error)}); {MEND}") from error


def _tokenizer(kind: str, folder: Path) -> Any:
    """A tokenizer with its vocabulary: transformers silently makes one of two words where the files are missing."""
    import transformers

    vocabularies = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))
    if not any(all((folder / name).is_file() for name in names) for names in vocabularies):
        raise WeightsError(f"{folder} has no tokenizer.json and no vocabulary; {MEND}")
    with _mended(folder):
        tokenizer = getattr(transformers, kind).from_pretrained(str(folder), local_files_only=True)
    if len(tokenizer) < 3:
        raise WeightsError(f"the vocabulary in {folder} is empty; {MEND}")
    return tokenizer


def _check_width(folder: Path, unet: Any, encoders: list[Any]) -> None:
    """Text encoders and U-Net must speak of vectors of one length."""
    width = sum(e.config.hidden_size for e in encoders)
    wanted = unet.config.cross_attention_dim
    if width != (wanted[0] if isinstance(wanted, list | tuple) else wanted):
        raise WeightsError(f"{folder}: the text encoder gives {width} channels and the U-Net wants {wanted}; they are no pair")


@contextmanager
def _mended(path: Path) -> Iterator[None]:
    """Whatever the libraries raise over a folder's contents, as one sentence."""
    try:
        yield
    except SegwrightError as error:
        raise error if isinstance(error, WeightsError) else WeightsError(f"{path}: {error}") from error
    except Exception as error:  # a damaged or foreign folder can fail anywhere in two large libraries
        if is_out_of_memory(error):
            raise WeightsError(f"{path} does not fit into the device's memory; try --dtype bfloat16, or --device cpu") from error
        raise WeightsError(f"{path} cannot be loaded ({reason(error)}); {MEND}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no warnings of diffusers and transformers, for this block only."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    before = [(lib, lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in (diffusers_logging, transformers_logging)]
    try:
        for lib, _, _ in before:
            lib.set_verbosity_error()
            lib.disable_progress_bar()
        yield
    finally:
        for lib, level, bars in before:
            lib.set_verbosity(level)
            if bars:
                lib.enable_progress_bar()
