"""Small random networks in the hub's folder layout, of the shapes of Stable Diffusion 1.x, 2.1 and XL, CLIP, BLIP and ViT.

They know nothing, but every layer that the real ones have is there. ``preset(folder, "sd1")`` makes a whole preset.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    GroupViTConfig,
    GroupViTModel,
    SamConfig,
    SamModel,
    ViTConfig,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
)

from segwright.mini.train.tokens import bert_tokenizer, clip_tokenizer

torch.set_num_threads(1)  # more only get in each other's way with networks as small as these

SIDE = 128  # pixels of a photo: latents of 16 cells with an autoencoder of four levels
SHAPES = ("sd1", "sd21", "xl")


def preset(folder: Path, shape: str = "sd1", vit: str | None = "dinov2", seed: int = 0) -> Path:
    """Everything that a preset folder holds."""
    diffusion(folder, shape, seed)
    tiny_vae(folder / "tiny_vae", seed)
    clip(folder / "clip", seed)
    captioner(folder / "captioner", seed)
    if vit:
        backbone(folder / "vit", vit, seed)
    groupvit(folder / "groupvit", seed)
    backbone(folder / "dino", "vit", seed)
    mae(folder / "mae", seed)
    sam(folder / "sam", seed)
    return folder


def unet(shape: str = "sd1") -> UNet2DConditionModel:
    """Four levels and heads as in SD 1.x; linear projections and a deeper attention in 2.1 and XL; XL has three levels.

    "lcm" is SD 1.x with the guidance scale as one more input, as latent consistency models have it.
    """
    common: dict[str, Any] = {"sample_size": 16, "norm_num_groups": 4, "layers_per_block": 2}
    if shape == "xl":
        return UNet2DConditionModel(
            **common,
            block_out_channels=(8, 16, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=(2, 2, 4),
            transformer_layers_per_block=(1, 1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16 + 6 * 8,
        )
    extra = {"attention_head_dim": (2, 4, 4, 4), "use_linear_projection": True} if shape == "sd21" else {"attention_head_dim": 2}
    if shape == "lcm":
        extra["time_cond_proj_dim"] = 8
    return UNet2DConditionModel(**common, block_out_channels=(8, 16, 16, 16), cross_attention_dim=16, **extra)


def diffusion(folder: Path, shape: str = "sd1", seed: int = 0) -> Path:
    """unet, vae, text encoder(s), tokenizer(s), scheduler and model_index.json."""
    torch.manual_seed(seed)
    unet(shape).save_pretrained(folder / "unet")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=SIDE,
    ).save_pretrained(folder / "vae")
    tokenizer = clip_tokenizer(folder / "tokenizer")
    CLIPTextModel(text_config(tokenizer)).save_pretrained(folder / "text_encoder")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "safety_checker": [None, None],
    }
    if shape == "xl":
        clip_tokenizer(folder / "tokenizer_2")
        CLIPTextModelWithProjection(text_config(tokenizer)).save_pretrained(folder / "text_encoder_2")
        index |= {
            "_class_name": "StableDiffusionXLPipeline",
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        }
    kind = "v_prediction" if shape == "sd21" else "epsilon"
    DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=kind).save_pretrained(
        folder / "scheduler"
    )
    (folder / "model_index.json").write_text(json.dumps(index), "utf8")
    return folder


def tiny_vae(folder: Path, seed: int = 0) -> Path:
    """AutoencoderTiny with TAESD's levels, for ``diffusion``'s latents."""
    torch.manual_seed(seed)
    channels = (8, 8, 8, 8)
    AutoencoderTiny(encoder_block_out_channels=channels, decoder_block_out_channels=channels, latent_channels=4).save_pretrained(
        folder
    )
    return folder


def controlnet(folder: Path, shape: str = "sd1", seed: int = 0, zero: bool = False) -> Path:
    """A ControlNetModel beside ``unet(shape)``; ``zero``: its last layers are zero, as before any training."""
    torch.manual_seed(seed)
    model = ControlNetModel.from_unet(unet(shape), conditioning_embedding_out_channels=(4, 8, 8, 8))
    if not zero:
        for layer in (*model.controlnet_down_blocks, model.controlnet_mid_block, model.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(layer.weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
        max_position_embeddings=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def clip(folder: Path, seed: int = 0, layers: int = 2) -> Path:
    """CLIPModel with its processor's config, as OpenAI's: shortest edge and centre crop."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(folder)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    CLIPModel(CLIPConfig(text_config=text_config(tokenizer).to_dict(), vision_config=vision, projection_dim=16)).save_pretrained(
        folder
    )
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def captioner(folder: Path, seed: int = 0) -> Path:
    """BlipForConditionalGeneration."""
    torch.manual_seed(seed)
    tokenizer: BertTokenizer = bert_tokenizer(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "projection_dim": 16,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def backbone(folder: Path, kind: str = "dinov2", seed: int = 0) -> Path:
    """A plain vision transformer: "dinov2" or "vit"."""
    torch.manual_seed(seed)
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    model: Any = Dinov2Model(Dinov2Config(**common)) if kind == "dinov2" else ViTModel(ViTConfig(**common, intermediate_size=32))
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def groupvit(folder: Path, seed: int = 0) -> Path:
    """GroupViTModel with two grouping blocks, weights large enough for the groups to differ."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(folder)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "depths": [2, 1, 1],
        "num_group_tokens": [6, 4, 0],
        "num_output_groups": [6, 4, 4],
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    text = text_config(tokenizer).to_dict()
    model = GroupViTModel(GroupViTConfig(text_config=text, vision_config=vision, projection_dim=16, projection_intermediate_dim=24))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.25 * torch.randn(p.shape))
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def mae(folder: Path, seed: int = 0) -> Path:
    """ViTMAEModel."""
    torch.manual_seed(seed)
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    ViTMAEModel(ViTMAEConfig(**common, intermediate_size=32)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def sam(folder: Path, seed: int = 0) -> Path:
    """SamModel for pictures of 64 pixels."""
    torch.manual_seed(seed)
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8}
    vision |= {"output_channels": 16, "global_attn_indexes": [1], "window_size": 4, "mlp_dim": 32, "num_pos_feats": 8}
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "image_embedding_size": 8}
    decoder = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 16, "iou_head_hidden_dim": 16}
    SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)).save_pretrained(folder)
    return folder
