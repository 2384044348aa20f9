"""BLIP-2 as captioner: a small random one in the hub's layout (shards, an index, the real key names) beside transformers' own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import Blip2Config, Blip2ForConditionalGeneration, BlipImageProcessor

from segwright import weights
from segwright.errors import WeightsError
from segwright.mini.train.tokens import corpus
from segwright.models.blip2 import Blip2Captioner
from segwright.models.opening import open_captioner
from segwright.words.presence import Nouns, choose

# Of Salesforce/blip2-opt-2.7b's own index.
REAL = (
    "query_tokens", "vision_model.embeddings.class_embedding", "vision_model.embeddings.patch_embedding.weight",
    "vision_model.embeddings.position_embedding", "vision_model.encoder.layers.0.self_attn.qkv.weight",
    "vision_model.encoder.layers.0.self_attn.projection.bias", "vision_model.encoder.layers.0.mlp.fc1.weight",
    "vision_model.post_layernorm.weight", "qformer.layernorm.weight",
    "qformer.encoder.layer.0.attention.attention.query.weight", "qformer.encoder.layer.0.crossattention.attention.key.weight",
    "qformer.encoder.layer.0.crossattention.output.LayerNorm.weight", "qformer.encoder.layer.0.intermediate_query.dense.weight",
    "qformer.encoder.layer.0.output_query.LayerNorm.bias", "language_projection.weight", "language_projection.bias",
    "language_model.model.decoder.embed_tokens.weight", "language_model.model.decoder.embed_positions.weight",
    "language_model.model.decoder.final_layer_norm.weight", "language_model.model.decoder.layers.0.self_attn.q_proj.weight",
    "language_model.model.decoder.layers.0.self_attn_layer_norm.weight", "language_model.model.decoder.layers.0.fc2.bias",
)  # fmt: skip
PHOTOS = [np.random.default_rng(i).integers(0, 256, (40 + i, 56, 3), np.uint8) for i in range(3)]


def blip2(folder: Path, seed: int = 0) -> Path:
    """Two blocks of each part; a byte-pair vocabulary as OPT's, its end of a sentence a line break."""
    folder.mkdir(parents=True)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([*corpus(), "\n"], vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<image>"])
    bpe.save_model(str(folder))
    words = json.loads((folder / "vocab.json").read_text("utf8"))
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "</s>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf8")
    torch.manual_seed(seed)
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    config = Blip2Config(
        vision_config={**common, "intermediate_size": 32, "image_size": 32, "patch_size": 8},
        qformer_config={**common, "intermediate_size": 32, "encoder_hidden_size": 16, "cross_attention_frequency": 2},
        text_config={
            "model_type": "opt", "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 128, "vocab_size": len(words), "bos_token_id": words["</s>"],
            "eos_token_id": words["Ċ"], "pad_token_id": words["<pad>"], "init_std": 0.5,
        },
        num_query_tokens=6, image_token_index=words["<image>"],
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder, max_shard_size="20KB")
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blip2(tmp_path_factory.mktemp("blip2") / "captioner")


@pytest.fixture(scope="module")
def captioner(folder: Path) -> Blip2Captioner:
    opened = open_captioner(folder, torch.device("cpu"), torch.float32)
    assert type(opened) is Blip2Captioner
    return opened


def test_the_stand_in_has_the_hubs_layout(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf8"))["weight_map"]
    assert set(REAL) <= set(index)
    assert len(set(index.values())) > 1, "in shards"


@pytest.mark.parametrize(("prompt", "beams", "least"), [(None, 1, 0), (None, 5, 0), ("a photo of a", 3, 0), ("a photo of", 3, 12)])
def test_captions_are_transformers_own(folder: Path, captioner: Blip2Captioner, prompt: str | None, beams: int, least: int) -> None:
    """Its own generate, with placeholders for the queries in the text as its processor writes them."""
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    text, tokenizer = model.config.text_config, captioner.tokenizer
    words = [text.bos_token_id, *(tokenizer(prompt, add_special_tokens=False).input_ids if prompt else ())]
    ids = torch.tensor([[model.config.image_token_index] * 6 + words] * len(PHOTOS))
    pixels = captioner.pixels(PHOTOS)
    how = {"num_beams": beams, "do_sample": False, "max_new_tokens": 20 - len(words), "min_new_tokens": max(0, least - len(words))}
    with torch.no_grad():
        found = model.generate(pixel_values=pixels, input_ids=ids, **how)[:, ids.shape[1] :]
    expected = [((prompt or "") + one).strip() for one in tokenizer.batch_decode(found, skip_special_tokens=True)]
    assert captioner.caption(PHOTOS, prompt, beams, 2, least=least, longest=20) == expected
    assert len(set(expected)) > 1, "photos differ"


def test_a_beginning_as_long_as_a_caption_is_all_of_it(captioner: Blip2Captioner) -> None:
    assert captioner.caption(PHOTOS[:1], "a photo of a dog on the grass", longest=3) == ["a photo of a dog on the grass"]


def test_in_a_preset_folder_it_captions_for_the_methods(folder: Path, tmp_path: Path) -> None:
    preset = tiny.preset(tmp_path / "preset", vit=None)
    shutil.rmtree(preset / "captioner")
    shutil.copytree(folder, preset / "captioner")
    networks = weights.load(preset, "cpu")
    assert isinstance(networks.captioner, Blip2Captioner)
    chosen = choose(networks, PHOTOS[:1], ("dog", "cat"), "paper", how=Nouns("published"))[0]
    assert chosen.caption is not None
    half = weights.load(preset, "cpu", "bfloat16").captioner
    assert len(half.caption(PHOTOS[:1])) == 1


def test_other_language_models_and_lost_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text("utf8"))
    (other / "config.json").write_text(json.dumps(config | {"text_config": {"model_type": "t5"}}), "utf8")
    with pytest.raises(WeightsError, match="only those with OPT"):
        open_captioner(other, torch.device("cpu"), torch.float32)
    (other / "config.json").write_text(json.dumps(config), "utf8")
    next(iter(sorted(other.glob("model-*.safetensors")))).unlink()
    with pytest.raises(WeightsError, match="is missing"):
        open_captioner(other, torch.device("cpu"), torch.float32)
