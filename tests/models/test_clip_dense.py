"""Dense CLIP against transformers' own forward pass, and against slow plain twins of the equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from segwright import weights
from segwright.errors import InputError
from segwright.models.clip import Clip
from segwright.models.clip_dense import attention_maps, dense_features, grad_cam, min_max, pixels, scaled


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("preset")
    tiny.clip(folder / "clip")
    clip = weights.load(folder, "cpu").clip
    generator = torch.Generator().manual_seed(3)
    for p in clip.model.parameters():  # transformers starts so small that attention is flat and gradients vanish
        p.add_(0.25 * torch.randn(p.shape, generator=generator))
    clip.model.logit_scale.fill_(2.5)
    return clip


def picture(height: int = 40, width: int = 56, count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def before_last(clip: Clip, seen: Tensor) -> Tensor:
    """transformers' own hidden state."""
    out = clip.model.vision_model(pixel_values=seen, output_hidden_states=True, interpolate_pos_encoding=True)
    return out.hidden_states[-2]


def slow_block(clip: Clip, tokens: Tensor, kind: str) -> Tensor:
    """The last block of one picture, (T, C), cell by cell and head by head."""
    layer = clip.model.vision_model.encoder.layers[-1]
    attn = layer.self_attn
    entering = layer.layer_norm1(tokens)
    q, k, v = attn.q_proj(entering), attn.k_proj(entering), attn.v_proj(entering)
    d = q.shape[1] // attn.num_heads
    out = torch.zeros_like(v)
    for head in range(attn.num_heads):
        part = slice(head * d, (head + 1) * d)
        for i in range(len(tokens)):
            if kind == "value":
                row = torch.eye(len(tokens))[i]
            elif kind == "correlative":
                row = (q[:, part] @ q[i, part] / math.sqrt(d)).softmax(0) + (k[:, part] @ k[i, part] / math.sqrt(d)).softmax(0)
            else:
                row = (k[:, part] @ q[i, part] / math.sqrt(d)).softmax(0)
            out[i, part] = sum(row[j] * v[j, part] for j in range(len(tokens)))
    tokens = tokens + attn.out_proj(out)
    return tokens + layer.mlp(layer.layer_norm2(tokens))


@pytest.mark.parametrize("kind", ["plain", "value", "correlative"])
def test_features_equal_the_equations(clip: Clip, kind: str) -> None:
    seen = picture(24, 32)
    found = dense_features(clip, seen, kind)
    assert found.features.shape == (2, 16, 3, 4)
    assert found.features.dtype == torch.float32
    for i, tokens in enumerate(before_last(clip, seen)):
        vectors = clip.model.visual_projection(clip.model.vision_model.post_layernorm(slow_block(clip, tokens, kind)))[1:]
        expected = vectors / vectors.norm(dim=1, keepdim=True)
        for cell in range(12):
            torch.testing.assert_close(found.features[i, :, cell // 4, cell % 4], expected[cell], rtol=1e-4, atol=1e-5)


def test_plain_features_are_transformers_own_tokens(clip: Clip) -> None:
    seen = picture(32, 32)
    out = clip.model.vision_model(pixel_values=seen)
    own = clip.model.visual_projection(clip.model.vision_model.post_layernorm(out.last_hidden_state[:, 1:]))
    expected = torch.nn.functional.normalize(own, dim=2).transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(dense_features(clip, seen, "plain").features, expected, rtol=1e-4, atol=1e-5)


def test_keys_are_those_of_the_last_layer(clip: Clip) -> None:
    seen, found = picture(), []
    layer = clip.model.vision_model.encoder.layers[-1]
    handle = layer.self_attn.k_proj.register_forward_hook(lambda _m, _i, output: found.append(output))
    clip.model.vision_model(pixel_values=seen, interpolate_pos_encoding=True)
    handle.remove()
    keys = dense_features(clip, seen).keys
    assert keys.shape == (2, 16, 5, 7)
    torch.testing.assert_close(keys.flatten(2).transpose(1, 2), found[0][:, 1:], rtol=1e-4, atol=1e-5)


def test_attention_maps_are_transformers_own(clip: Clip) -> None:
    seen = picture()
    clip.model.set_attn_implementation("eager")
    maps = clip.model.vision_model(pixel_values=seen, output_attentions=True, interpolate_pos_encoding=True).attentions
    clip.model.set_attn_implementation("sdpa")
    expected = [m.mean(1)[:, 1:, 1:] for m in maps]
    torch.testing.assert_close(attention_maps(clip, seen, 1), expected[-1], rtol=1e-4, atol=1e-6)
    both = torch.stack(expected).mean(0)
    torch.testing.assert_close(attention_maps(clip, seen, 2), both, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(attention_maps(clip, seen, 8), both, rtol=1e-4, atol=1e-6)
    cam = grad_cam(clip, seen, clip.embed_texts(["dog"]), layers=2)
    assert cam.attention is not None
    torch.testing.assert_close(cam.attention, both, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pool", ["class", "patches"])
@pytest.mark.parametrize("score", ["logit", "softmax"])
def test_grad_cam_is_the_gradient_of_transformers_own_pass(clip: Clip, pool: str, score: str) -> None:
    """The whole model run by transformers with a hook in it; autograd's gradient; the formula cell by cell."""
    seen, texts = picture(24, 32), clip.embed_texts(["dog", "boat", "apple"])
    held: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> Tensor:
        held.append(output.detach().requires_grad_())
        return held[-1]

    tower = clip.model.vision_model
    handle = tower.encoder.layers[-1].layer_norm1.register_forward_hook(keep)
    with torch.enable_grad():
        out = tower(pixel_values=seen, interpolate_pos_encoding=True)
        tokens = out.pooler_output if pool == "class" else tower.post_layernorm(out.last_hidden_state)[:, 1:].mean(1)
        image = clip.model.visual_projection(tokens)
        logits = clip.model.logit_scale.exp() * (image / image.norm(dim=1, keepdim=True)) @ texts.T
        probabilities = logits.softmax(1) if score == "softmax" else logits
        found = grad_cam(clip, seen, texts, [2, 0], pool, score=score)
        torch.testing.assert_close(found.scores, probabilities.detach(), rtol=1e-5, atol=1e-5)
        for row, text in enumerate([2, 0]):
            for b in range(2):
                (slope,) = torch.autograd.grad(probabilities[b, text], held[0], retain_graph=True)
                channels = slope[b, 1:].sum(0) / 12
                for cell in range(12):
                    expected = max(0.0, float(channels @ held[0][b, 1 + cell].detach()))
                    assert float(found.maps[b, row, cell // 4, cell % 4]) == pytest.approx(expected, abs=1e-5, rel=1e-4)
    handle.remove()
    assert float(found.maps.max()) > 1e-3
    assert not found.maps.requires_grad


def test_grad_cam_of_a_picture_does_not_depend_on_its_company(clip: Clip) -> None:
    seen, texts = picture(), clip.embed_texts(["dog", "boat"])
    both = grad_cam(clip, seen, texts).maps
    for i in range(2):
        torch.testing.assert_close(grad_cam(clip, seen[i : i + 1], texts).maps[0], both[i], rtol=1e-4, atol=1e-6)
    assert grad_cam(clip, seen, texts, []).maps.shape == (2, 0, 5, 7)


def test_sizes_follow_the_network(clip: Clip) -> None:
    assert [scaled(clip, s) for s in (224, 336, 112, 1)] == [32, 48, 16, 8]
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    seen = pixels(clip, photo, (24, 40))
    assert seen.shape == (1, 3, 24, 40)
    torch.testing.assert_close(pixels(clip, photo, (32, 32)), clip.pixels([photo]))
    assert dense_features(clip, picture(29, 39)).features.shape == (2, 16, 3, 4)


def test_min_max() -> None:
    found = min_max(torch.tensor([[[1.0, 3.0], [2.0, 1.0]], [[4.0, 4.0], [4.0, 4.0]]]))
    assert found.tolist() == [[[0.0, 1.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]


def test_what_does_not_fit_is_refused(clip: Clip) -> None:
    texts = clip.embed_texts(["dog"])
    with pytest.raises(InputError, match="attention must be"):
        dense_features(clip, picture(), "none")
    with pytest.raises(InputError, match="pixels must be"):
        dense_features(clip, picture(7, 32))
    with pytest.raises(InputError, match="layers must be"):
        attention_maps(clip, picture(), 0)
    for bad, message in (({"pool": "x"}, "pool must"), ({"score": "x"}, "score must"), ({"targets": [1]}, "targets must")):
        with pytest.raises(InputError, match=message):
            grad_cam(clip, picture(), texts, **bad)
    with pytest.raises(InputError, match="texts must be"):
        grad_cam(clip, picture(), texts[:, :3])
