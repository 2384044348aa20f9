"""Networks of full size with random weights, under the names that the hub's files have.

The shapes are those of the published configurations. Files are written tensor by tensor, so nothing of theirs is in memory.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    GroupViTConfig,
    GroupViTModel,
    SamConfig,
    SamModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from segwright.mini.train.tokens import bert_tokenizer, clip_tokenizer

OLD_VAE = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
SD1_UNET: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SD21_UNET: dict[str, Any] = {
    "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True,
}  # fmt: skip
XL_UNET: dict[str, Any] = {
    "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20), "use_linear_projection": True,
    "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
# LCM_Dreamshaper_v7 was distilled at 768 pixels, SD-Turbo at 512.
UNETS = {
    "sd1": SD1_UNET, "sd21": SD21_UNET, "xl": XL_UNET, "turbo": SD21_UNET | {"sample_size": 64},
    "lcm": SD1_UNET | {"sample_size": 96, "time_cond_proj_dim": 256},
}  # fmt: skip
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
}  # fmt: skip
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
TEXT_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "hidden_act": "gelu"}
TEXT_G = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "hidden_act": "gelu",
    "projection_dim": 1280,
}  # fmt: skip
WIDE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
VIT_B = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def write(
    network: Any, path: Path, rename: Callable[[str], str] = str, extra: dict[str, torch.Tensor] | None = None, without: str = " "
) -> Path:
    """A safetensors file for a network on the meta device: random numbers of its shapes, another for each tensor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith(without)}
    shapes = {rename(name): tuple(value.shape) for name, value in kept.items() if value.is_floating_point()}
    rng, header, at = np.random.default_rng(0), {"__metadata__": {"format": "pt"}}, 0
    ints = {name: value.numpy() for name, value in (extra or {}).items()}
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    for name, value in ints.items():
        header[name] = {"dtype": "I64", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = rng.standard_normal(1 << 20, dtype=np.float32)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, shape in enumerate(shapes.values()):
            left, scale = math.prod(shape), np.float32(1e-2 * (1 + number * 1e-4))
            while left:
                part = block[: min(left, len(block))] * scale
                file.write(part.tobytes())
                left -= len(part)
        for value in ints.values():
            file.write(value.tobytes())
    return path


def hide(path: Path, key: str) -> None:
    """Give one tensor of a file another name of the same length, in place."""
    with open(path, "r+b") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = file.read(size)
        assert header.count(f'"{key}"'.encode()) == 1
        file.seek(8)
        file.write(header.replace(f'"{key}"'.encode(), f'"{key[:-1]}_"'.encode()))


def meta(kind: Any, config: Any) -> Any:
    with torch.device("meta"):
        return kind.from_config(config) if isinstance(config, dict) else kind(config)


def config_file(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), "utf8")


def diffusers(kind: Any, folder: Path, config: dict[str, Any], rename: Callable[[str], str] = str) -> None:
    network = meta(kind, config)
    config_file(folder, dict(network.config) | {"_class_name": kind.__name__})
    write(network, folder / "diffusion_pytorch_model.safetensors", rename)


def saved_names(network: Any) -> dict[str, str]:
    """A transformers network's own names -> those of its files, which are the old ones of the hub."""
    from transformers.core_model_loading import revert_weight_conversion

    own = {name: torch.empty(0, device="meta") for name in network.state_dict()}
    marked = {name: torch.full((1,), float(i)) for i, name in enumerate(own)}
    back = revert_weight_conversion(network, marked)
    names = list(own)
    return {names[int(value.item())]: name for name, value in back.items()}


def transformers(kind: Any, folder: Path, config: Any, positions: dict[str, int] | None = None, **more: Any) -> None:
    """A network's folder.

    Args:
        positions: names of the position_ids that older files hold, and their lengths.
        more: "batch_norms", those whose files count batches; "without", the beginning of names that the file lacks.
    """
    network = meta(kind, config)
    config_file(folder, config.to_dict() | {"architectures": [kind.__name__]})
    names = saved_names(network)
    extra = {name: torch.arange(size)[None] for name, size in (positions or {}).items()}
    extra |= {f"{name}.num_batches_tracked": torch.tensor(7) for name in more.get("batch_norms", ())}
    write(network, folder / "model.safetensors", lambda name: names.get(name, name), extra, more.get("without", " "))


def old_vae(name: str) -> str:
    if "attentions" not in name:
        return name
    for new, old in OLD_VAE.items():
        name = name.replace(new, old)
    return name


def stable_diffusion(folder: Path, shape: str) -> Path:
    """The whole folder of SD 1.5 ("sd1"), 2.1 ("sd21"), XL ("xl"), SD-Turbo ("turbo") or LCM ("lcm")."""
    tiny.diffusion(folder, "xl" if shape == "xl" else "sd1")
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        shutil.rmtree(folder / part, ignore_errors=True)
    diffusers(UNet2DConditionModel, folder / "unet", UNETS[shape])
    diffusers(AutoencoderKL, folder / "vae", VAE, old_vae if shape == "sd1" else str)
    ids = {"text_model.embeddings.position_ids": 77}
    text = CLIPTextConfig(**(TEXT_H if shape in ("sd21", "turbo") else TEXT))
    transformers(CLIPTextModel, folder / "text_encoder", text, ids)
    if shape == "xl":
        transformers(CLIPTextModelWithProjection, folder / "text_encoder_2", CLIPTextConfig(**TEXT_G), ids)
    return folder


def clip(folder: Path, patch: int) -> Path:
    large = patch == 14
    vision = (WIDE if large else VIT_B) | {"patch_size": patch, "image_size": 224}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12} if large else {}
    size = 768 if large else 512
    cells = (224 // patch) ** 2 + 1
    ids = {"text_model.embeddings.position_ids": 77, "vision_model.embeddings.position_ids": cells}
    text |= {"projection_dim": size}
    config = CLIPConfig(text_config=text, vision_config=vision | {"projection_dim": size}, projection_dim=size)
    clip_tokenizer(folder)
    tiny.CLIPImageProcessor().save_pretrained(folder)
    transformers(CLIPModel, folder, config, ids)
    return folder


def blip(folder: Path, large: bool) -> Path:
    """Both files hold the head once more that is tied to the embedding."""
    vision = WIDE if large else VIT_B
    text = {"encoder_hidden_size": vision["hidden_size"], "vocab_size": 30524}
    config = BlipConfig(text_config=text, vision_config=vision | {"image_size": 384, "patch_size": 16})
    bert_tokenizer(folder)
    tiny.BlipImageProcessor().save_pretrained(folder)
    transformers(BlipForConditionalGeneration, folder, config, {"text_decoder.bert.embeddings.position_ids": 512})
    return folder


def backbone(folder: Path, name: str) -> Path:
    """ "dino", "dinov2", "vit" (with the classifier that the hub's file has) or "mae" (with its decoder)."""
    tiny.ViTImageProcessor().save_pretrained(folder)
    if name == "dino":
        transformers(ViTModel, folder, ViTConfig(**VIT_B, image_size=224, patch_size=8), without="pooler.")  # by its size
    elif name == "vit":
        transformers(ViTForImageClassification, folder, ViTConfig(**VIT_B, image_size=224, patch_size=16, num_labels=1000))
    elif name == "mae":
        transformers(ViTMAEForPreTraining, folder, ViTMAEConfig(**VIT_B, image_size=224, patch_size=16))
    else:
        transformers(Dinov2Model, folder, Dinov2Config(image_size=518, patch_size=14))
    return folder


def sam(folder: Path) -> Path:
    transformers(SamModel, folder, SamConfig())
    return folder


def groupvit(folder: Path) -> Path:
    ids = {"text_model.embeddings.position_ids": 77}
    clip_tokenizer(folder)
    tiny.CLIPImageProcessor().save_pretrained(folder)
    transformers(GroupViTModel, folder, GroupViTConfig(), ids, batch_norms=("text_projection.1", "visual_projection.1"))
    return folder


def taesd(folder: Path) -> Path:
    diffusers(AutoencoderTiny, folder, {})
    return folder
