"""Captions: our modules beside transformers' own, the same tokens whatever beams, batch and beginning."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import BlipConfig, BlipForConditionalGeneration

from segwright.models.blip import PhotoCache, quicken

SEP = 3


def small(seed: int, sharp: float = 1.0) -> BlipForConditionalGeneration:
    """A random BLIP; ``sharp`` above 1 makes it surer of its words, so that some sentences end early."""
    torch.manual_seed(seed)
    text = {
        "hidden_size": 48, "encoder_hidden_size": 40, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 30, "bos_token_id": 2, "eos_token_id": SEP, "sep_token_id": SEP, "pad_token_id": 0, "initializer_range": 0.3,
    }  # fmt: skip
    vision = {
        "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
        "patch_size": 8, "initializer_range": 0.2,
    }  # fmt: skip
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).eval()
    model.text_decoder.cls.predictions.decoder.bias.data[SEP] += sharp
    return model


def tokens(model: BlipForConditionalGeneration, pixels: torch.Tensor, beams: int, **more: object) -> torch.Tensor:
    how = {"num_beams": beams, "do_sample": False, "max_length": 12, "max_new_tokens": None}
    return model.generate(pixel_values=pixels, **how, **more)


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_the_same_tokens_as_transformers(beams: int) -> None:
    ended = set()
    for seed in range(4):
        plain = small(seed, sharp=4.0)
        ours = copy.deepcopy(plain)
        quicken(ours)
        pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        wanted = tokens(plain, pixels, beams)
        assert torch.equal(tokens(ours, pixels, beams, past_key_values=PhotoCache(3)), wanted)
        ended |= {int((row == SEP).any()) for row in wanted}
    assert ended == {0, 1}  # some ended early, some did not


def test_a_beginning_of_several_tokens() -> None:
    plain = small(0)
    ours = copy.deepcopy(plain)
    quicken(ours)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    start = {"input_ids": torch.tensor([[2, 7, 9, SEP]] * 2), "attention_mask": torch.ones(2, 4, dtype=torch.long)}
    wanted = tokens(plain, pixels, 3, **copy.deepcopy(start))
    assert torch.equal(tokens(ours, pixels, 3, past_key_values=PhotoCache(2), **copy.deepcopy(start)), wanted)


def test_hidden_states_to_rounding() -> None:
    plain = small(1)
    ours = copy.deepcopy(plain)
    quicken(ours)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.vision_model(pixels)[0], plain.vision_model(pixels)[0], rtol=1e-4, atol=1e-4)


def test_the_embeddings_stay_as_they_are() -> None:
    """The vocabulary's product reads the same weights; it gets its own copy of them."""
    model = small(2)
    before = model.text_decoder.get_input_embeddings().weight.clone()
    quicken(model)
    assert torch.equal(model.text_decoder.get_input_embeddings().weight, before)
    assert torch.equal(model.state_dict()["text_decoder.cls.predictions.decoder.weight"], before)
