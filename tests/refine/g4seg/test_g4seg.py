"""G4Seg beside a plain, slow writing of the paper's equations, on tiny random networks and on preset mini."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from contracts import check_refiner, coarse_scores, photo
from scipy import ndimage
from torch import Tensor

from segwright import weights
from segwright.errors import InputError, WeightsError
from segwright.metrics import confusion, miou
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.attention import attached
from segwright.refine import CRF, EMI, G4Seg, G4SegSettings, InversionSettings, crf, g4seg, g4seg_batch
from segwright.refine.g4seg.correspondence import difference, nearest
from segwright.refine.g4seg.injection import Injection, injected
from segwright.refine.g4seg.method import in_blocks, passes, square, updated
from segwright.refine.g4seg.reconstruction import Reconstructor
from segwright.refine.pipeline import parse_refiners, refine
from segwright.refine.soft import blur, is_hard, soften
from segwright.types import Scores
from segwright.weights import Networks

SHAPES = ("sd1", "sd21", "xl", "lcm")
STRONG = G4SegSettings(cross=20.0, self_=10.0, side=128, clip_side=32, reach=None, layer=-1)
PROMPT = "A photo of {}"


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return weights.load(tiny.preset(tmp_path_factory.mktemp(request.param), request.param, vit=None), "cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return weights.load(tiny.preset(tmp_path_factory.mktemp("sd21"), "sd21", vit=None), "cpu")


@pytest.fixture(scope="module")
def mini() -> Networks:
    return weights.load("mini", "cpu")


# --- the paper, slowly ---------------------------------------------------------------------------------------------------


class Dense:
    """Eqs. 3 to 5 as they stand: A is written out, every head and every class by itself."""

    def __init__(self, masks: Tensor, tokens: Tensor, cross: float, self_: float) -> None:
        self.masks, self.tokens, self.cross, self.self_ = masks, tokens, cross, self_

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **unused):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        d = query.shape[2] // attn.heads
        out = torch.zeros_like(query)
        side = math.isqrt(query.shape[1])
        for c in range(len(query)):
            cell = self.masks.shape[1] // side
            inside = self.masks[c].reshape(side, cell, side, cell).mean((1, 3)).flatten() >= 0.5
            named = self.tokens[c] > 0
            if encoder_hidden_states is None:
                push = self.self_ * (inside[:, None] & inside[None, :]).float()
            else:
                push = self.cross * (inside[:, None] & named[None, :]).float()
            for h in range(attn.heads):
                part = slice(h * d, (h + 1) * d)
                logits = (query[c, :, part] @ key[c, :, part].T + push) / math.sqrt(d)
                out[c, :, part] = logits.softmax(1) @ value[c, :, part]
        return attn.to_out[0](out)


def named_tokens(tokenizer, word: str, length: int) -> Tensor:
    """1 where the prompt's tokens differ in number from those of a prompt with an empty word: the last ones before the end."""
    whole = tokenizer(PROMPT.format(word)).input_ids
    count = len(tokenizer(word).input_ids) - 2
    row = torch.zeros(length)
    row[len(whole) - 1 - count : len(whole) - 1] = 1
    return row


def slow_reconstruction(networks: Networks, image: Tensor, words: list[str], masks: Tensor, settings: G4SegSettings) -> Tensor:
    """Eq. 2 under Eq. 5, written for one class after the other."""
    net = networks.diffusion
    shape = (1, 4, image.shape[1] // net.cell, image.shape[2] // net.cell)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(settings.seed))
    alpha = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)[settings.timestep]
    a, b = float(alpha.sqrt()), float((1 - alpha).sqrt())
    made = []
    with torch.no_grad():
        x0 = net.vae.encode(image[None].float() / 127.5 - 1).latent_dist.mean * net.vae.config.scaling_factor
        xt = a * x0 + b * noise
        for word, mask in zip(words, masks, strict=True):
            tokens = named_tokens(net.tokenizers[0], word, net.text_encoders[0].config.max_position_embeddings)
            dense = Dense(mask[None], tokens[None], settings.cross, settings.self_)
            found = {m: dense for n, m in net.unet.named_modules() if n.endswith((".attn1", ".attn2"))}
            with attached(found):
                out = net.predict(xt, settings.timestep, net.embed([PROMPT.format(word)]))
            clean = a * xt - b * out if net.prediction == "v_prediction" else (xt - b * out) / a
            made.append((net.vae.decode(clean / net.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1))
    return torch.cat(made)


def slow_update(scores: np.ndarray, row: int, matches: np.ndarray, settings: G4SegSettings) -> np.ndarray:
    """Eq. 9 with the filter, cell by cell, where a cell is a pixel; a class by itself, or at background's expense."""
    out = scores.copy()
    height, width = scores.shape[1:]
    low, high = settings.certain or (0, 1)
    for y in range(height):
        for x in range(width):
            here = scores[row, y, x]
            there = scores[row].flat[matches[y * width + x]]
            if low <= here <= high and there != here:
                out[row, y, x] = settings.beta * here + (1 - settings.beta) * there
                if settings.compared == "own":
                    continue
                out[0, y, x] = max(0, scores[0, y, x] - (out[row, y, x] - here))
                out[:, y, x] /= out[:, y, x].sum()
    return out


# --- injection -----------------------------------------------------------------------------------------------------------


def blobs(count: int, side: int) -> Tensor:
    """(K, S, S) binary masks of different sizes, one of them empty."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    masks = [((y - side * 0.4) ** 2 + (x - side * 0.3 * (k + 1)) ** 2 < (side * 0.18 * k) ** 2).float() for k in range(count)]
    return torch.stack(masks)


def test_reconstruction_is_the_papers(shaped: Networks) -> None:
    """All shapes of U-Net, epsilon and v-prediction, every resolution, classes in one batch beside classes one by one."""
    image = square(photo(70, 90), shaped, STRONG)
    words, masks = ["dog", "potted plant", "photo"], blobs(3, 128)
    latents = shaped.diffusion.encode(image[None].float() / 255)
    fast = Reconstructor(shaped.diffusion, latents, STRONG)(words, masks)
    slow = slow_reconstruction(shaped, image, words, masks, STRONG)
    assert (fast - slow).abs().max() < 1e-4
    plain = Reconstructor(shaped.diffusion, latents, STRONG)(words, masks, inject=False)
    assert (fast[2] - plain[2]).abs().max() > 1e-3, "the injection does something"
    assert torch.allclose(fast[0], plain[0], atol=1e-5), "an empty mask injects nothing"


@pytest.mark.parametrize("half", [0.5, None])
def test_attention_equals_dense_logits(small: Networks, half: float | None) -> None:
    """One U-Net pass, also with a mask that counts by its share (A is then s_i s_j)."""
    net = small.diffusion
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    embedding = net.embed(["A photo of dog", "A photo of cat"])
    tokens = torch.zeros(2, 32)
    tokens[:, 4] = 1
    soft = torch.rand(2, 128, 128, generator=torch.Generator().manual_seed(2))
    injection = Injection(soft, tokens, 5.0, 7.0, half)

    class Soft(Dense):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **unused):
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k, v = (f(x).unflatten(2, (attn.heads, -1)).transpose(1, 2) for f, x in
                       ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context)))  # fmt: skip
            side = math.isqrt(q.shape[2])
            share = torch.nn.functional.avg_pool2d(self.masks[:, None], 128 // side).flatten(1)
            s = share if half is None else (share >= half).float()
            a = (
                self.self_ * s[:, :, None] * s[:, None]
                if encoder_hidden_states is None
                else self.cross * s[:, :, None] * self.tokens[:, None]
            )
            weights = ((q @ k.transpose(2, 3) + a[:, None]) / math.sqrt(q.shape[3])).softmax(3)
            return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))

    with torch.no_grad():
        with injected(net.unet, injection):
            fast = net.predict(latents, 400, embedding)
        found = [m for n, m in net.unet.named_modules() if n.endswith((".attn1", ".attn2"))]
        with attached({m: Soft(soft, tokens, 5.0, 7.0) for m in found}):
            slow = net.predict(latents, 400, embedding)
        plain = net.predict(latents, 400, embedding)
        with injected(net.unet, replace(injection, cross=0.0, self_=0.0)):
            nothing = net.predict(latents, 400, embedding)
    assert (fast - slow).abs().max() < 1e-4
    assert (fast - plain).abs().max() > 1e-2
    assert torch.allclose(nothing, plain, atol=1e-5)


class Ranged:
    """DenseDiffusion's M written out, one query and one key at a time: R is 1 where both are the class's, up towards the row's
    largest logit; where one is, down towards its smallest; times w and one less the part of the picture of the query's side."""

    def __init__(self, masks: Tensor, tokens: Tensor, cross: float, self_: float) -> None:
        self.masks, self.tokens, self.cross, self.self_ = masks, tokens, cross, self_

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **unused):
        own = encoder_hidden_states is None
        context = hidden_states if own else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        d, side = query.shape[2] // attn.heads, math.isqrt(query.shape[1])
        out = torch.zeros_like(query)
        for c in range(len(query)):
            cell = self.masks.shape[1] // side
            inside = self.masks[c].reshape(side, cell, side, cell).mean((1, 3)).flatten() >= 0.5
            named = inside if own else self.tokens[c] > 0
            count = int(inside.sum())
            for h in range(attn.heads):
                part = slice(h * d, (h + 1) * d)
                logits = (query[c, :, part] @ key[c, :, part].T).double()
                moved = logits.clone()
                for i in range(len(inside)):
                    taken = (count if inside[i] else len(inside) - count) / len(inside)
                    w = (self.self_ if own else self.cross) * (1 - taken)
                    for j in range(len(named)):
                        if inside[i] and named[j]:
                            moved[i, j] += w * (logits[i].max() - logits[i, j])
                        elif inside[i] or named[j]:
                            moved[i, j] -= w * (logits[i, j] - logits[i].min())
                out[c, :, part] = (moved / math.sqrt(d)).softmax(1).float() @ value[c, :, part]
        return attn.to_out[0](out)


def test_range_scaled_injection_against_loops(small: Networks) -> None:
    """One U-Net pass; the largest difference was 5e-7. Its maps sum to 1, and the class's tokens get more of what lies inside."""
    net = small.diffusion
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    embedding, tokens = net.embed(["A photo of dog", "A photo of cat"]), torch.zeros(2, 32)
    tokens[:, 4] = 1
    masks, seen = blobs(3, 64)[1:], []
    injection = Injection(masks, tokens, 0.9, 0.3, 0.5, ranged=True)
    found = [m for n, m in net.unet.named_modules() if n.endswith((".attn1", ".attn2"))]
    with torch.no_grad():
        with injected(net.unet, injection, seen.append):
            fast = net.predict(latents, 400, embedding)
        with attached({m: Ranged(masks, tokens, 0.9, 0.3) for m in found}):
            slow = net.predict(latents, 400, embedding)
        plain = net.predict(latents, 400, embedding)
    assert (fast - slow).abs().max() < 2e-5
    assert (fast - plain).abs().max() > 1e-2
    finest = max(seen, key=lambda m: m.shape[1])
    inside = injection.cells(finest.shape[1]) > 0
    assert torch.allclose(finest.sum(2), torch.ones(finest.shape[:2]), atol=1e-5)
    for c in range(2):
        assert finest[c, inside[c], 4].min() > finest[c, ~inside[c], 4].max()


def test_processors_come_back_and_maps_are_seen(small: Networks) -> None:
    net = small.diffusion
    before = dict(net.unet.attn_processors)
    seen: list[Tensor] = []
    tokens = torch.zeros(1, 32)
    tokens[0, 4] = 1
    with injected(net.unet, Injection(torch.ones(1, 128, 128), tokens, 50.0, 0.0, 0.5), seen.append), torch.no_grad():
        net.predict(torch.zeros(1, 4, 16, 16), 400, net.embed(["A photo of dog"]))
    assert all(net.unet.attn_processors[name] is one for name, one in before.items())
    assert {m.shape[1] for m in seen} == {256, 64, 16, 4}
    for one in seen:
        assert torch.allclose(one.sum(2), torch.ones(one.shape[:2]), atol=1e-5)
        assert float(one[..., 4].min()) > 0.5, "a strong injection draws attention to the word"


@pytest.mark.parametrize("word", ["dog", "photo", "a", "potted plant"])
def test_tokens_of_the_word_not_of_the_template(small: Networks, word: str) -> None:
    reconstructor = Reconstructor(small.diffusion, torch.zeros(1, 4, 16, 16), STRONG)
    tokenizer = small.diffusion.tokenizers[0]
    found = reconstructor._tokens([word])[0].nonzero().flatten().tolist()
    ids = tokenizer(PROMPT.format(word)).input_ids
    assert [ids[i] for i in found] == tokenizer(word, add_special_tokens=False).input_ids
    assert found[-1] == len(ids) - 2


# --- correspondence ------------------------------------------------------------------------------------------------------


def test_nearest_is_the_smallest_cosine_distance_blocked_or_not() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 24, 81, generator=generator)
    expected, near = [], []
    for j in range(81):
        distances = [
            1 - float(a[:, i].double() @ b[:, j].double() / (a[:, i].double().norm() * b[:, j].double().norm())) for i in range(81)
        ]
        expected.append(int(np.argmin(distances)))
        within = [d if math.dist(divmod(i, 9), divmod(j, 9)) <= 0.25 * 9 else 9.0 for i, d in enumerate(distances)]
        near.append(int(np.argmin(within)))
    for block in (1, 7, 81, 500):
        assert nearest(a, b, block=block).tolist() == expected
        assert nearest(a, b, 0.25, block).tolist() == near
    assert nearest(3 * a, a).tolist() == list(range(81))


def test_difference_is_eq_9_on_the_grid_and_zero_where_cells_match_themselves() -> None:
    scores = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    matches = torch.randint(0, 36, (2, 36), generator=torch.Generator().manual_seed(1))
    found = difference(scores, matches, 6)
    for k in range(2):
        for j in range(36):
            assert found[k].flatten()[j] == scores[k].flatten()[matches[k, j]] - scores[k].flatten()[j]
    same = torch.arange(16).expand(2, -1)
    assert torch.equal(difference(torch.rand(2, 13, 9), same, 4), torch.zeros(2, 13, 9))


@pytest.mark.parametrize("certain", [(0.2, 0.6), None])
@pytest.mark.parametrize("compared", ["own", "shares"])
def test_update_is_the_papers(certain: tuple[float, float] | None, compared: str) -> None:
    """The largest difference was 2e-8 (own) and 4e-8 (shares)."""
    scores = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(3)) + 0.05
    scores = scores / scores.sum(0)
    scores = scores * torch.linspace(0.3, 1, 8) if compared == "own" else scores
    matches = torch.randint(0, 64, (1, 64), generator=torch.Generator().manual_seed(4))
    settings = G4SegSettings(beta=0.7, certain=certain, compared=compared)
    fast = updated(scores, [2], difference(scores[2:], matches, 8), settings)
    slow = slow_update(scores.double().numpy(), 2, matches[0].numpy(), settings)
    assert np.abs(fast.numpy() - slow).max() < 1e-6
    if compared == "own":
        assert torch.equal(fast[:2], scores[:2]), "no other class and no background loses anything"
    else:
        assert torch.allclose(fast.sum(0), torch.ones(8, 8), atol=1e-6)


def test_the_filter_sees_a_methods_own_scores(small: Networks) -> None:
    """Shares of 0.7 that were own scores of 0.35 to 0.49 are updated, shares of 0.45 that were 0.09 are not; all sum to 1 again."""
    values = torch.zeros(2, 40, 40)
    values[1], totals = 0.7, torch.linspace(0.5, 0.7, 40)[:, None].repeat(1, 40)
    values[1, :, 20:], totals[:, 20:] = 0.45, 0.2
    values[0] = 1 - values[1]
    scores = Scores(("cat",), (0, 1), values, totals)
    settings = replace(WORKING, beta=0.0)
    found = g4seg(photo(40, 40), scores, model=small, settings=settings)
    changed = (found.values != values).any(0)
    assert changed[:, :20].any()
    assert not changed[:, 20:].any()
    assert torch.allclose(found.values.sum(0), torch.ones(40, 40), atol=1e-6)
    assert torch.allclose(found.own[0], scores.own[0], atol=1e-6), "background's own score stays"
    shares = g4seg(photo(40, 40), scores, model=small, settings=replace(settings, compared="shares"))
    assert not (shares.values != values).any(0)[:, :20].any(), "0.7 is beyond the filter"


def test_background_takes_nothing_where_a_photo_has_none() -> None:
    scores = torch.tensor([[0.0, 0.0], [0.5, 0.4], [0.5, 0.6]]).view(3, 1, 2)
    found = updated(scores, [1, 2], torch.full((2, 1, 2), -0.3), G4SegSettings(certain=None, compared="shares"))
    assert torch.equal(found[0], torch.zeros(1, 2))
    assert torch.allclose(found.sum(0), torch.ones(1, 2))


# --- the whole -----------------------------------------------------------------------------------------------------------


def test_the_whole_is_the_papers(small: Networks) -> None:
    """Matches may differ only between cells that are equally near; with them the scores are Eq. 9's."""
    settings = replace(STRONG, grid=8, beta=0.6, certain=(0.1, 0.9))
    image, scores = photo(8, 8), coarse_scores(8, 8, (0, 2))
    scores = replace(scores, values=(scores.values * 0.8 + 0.1))
    shown = next(passes(image, scores, scores.values, small, settings))
    small_photo = square(image, small, settings)
    hard = (scores.values.argmax(0) == 1).float()
    mask = hard.repeat_interleave(16, 0).repeat_interleave(16, 1)
    assert torch.equal(shown.masks[0], mask)
    picture = slow_reconstruction(small, small_photo, ["dog"], mask[None], settings)[0]
    assert (picture - shown.pictures[0]).abs().max() < 1e-4
    old, new = (slow_features(small, p) for p in (small_photo, shown.pictures[0]))
    for j, match in enumerate(shown.matches[0].tolist()):
        distances = 1 - (old * new[:, j : j + 1]).sum(0) / (old.norm(dim=0) * new[:, j].norm())
        assert distances[match] <= distances.min() + 1e-5
    slow = slow_update(scores.values.double().numpy(), 1, shown.matches[0].numpy(), settings)
    slow = slow / slow.sum(0)
    result = g4seg(image, scores, model=small, settings=settings)
    assert np.abs(result.values.numpy() - slow).max() < 1e-4
    assert not torch.equal(result.values, scores.values)


def slow_features(networks: Networks, picture: Tensor) -> Tensor:
    """(C, 64): patch tokens of CLIP's last layer on its own square of 32 pixels, bilinear to 8x8 cells."""
    clip = networks.clip
    wide = picture.float() / 255 if picture.dtype == torch.uint8 else picture  # photos have 256 levels, made pictures do not
    small = torch.nn.functional.interpolate(wide[None], (32, 32), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    small = (small * 255).round() / 255 if picture.dtype == torch.uint8 else small
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (clip.pixels.mean, clip.pixels.std))
    with torch.no_grad():
        out = clip.model.vision_model((small - mean) / std, output_hidden_states=True)
    cells = out.hidden_states[-1][0, 1:].T.reshape(1, -1, 4, 4)
    return torch.nn.functional.interpolate(cells, (8, 8), mode="bilinear", align_corners=False)[0].flatten(1)


WORKING = G4SegSettings(clip_side=32, grid=8, side=128, reach=None, layer=-1)


@pytest.mark.parametrize("weight", [0.0, 10.0])
@pytest.mark.parametrize("passes_", [1, 3])
def test_beta_one_changes_no_bit(small: Networks, weight: float, passes_: int) -> None:
    settings = replace(WORKING, beta=1.0, cross=weight, self_=weight, passes=passes_, certain=None)
    image, scores = photo(), coarse_scores(40, 56)
    hard = replace(scores, values=(scores.values == scores.values.amax(0)).float())
    for given in (scores, hard):
        assert torch.equal(g4seg(image, given, model=small, settings=settings).values, given.values)
    assert len(list(passes(image, scores, scores.values, small, settings))) == passes_, "and yet the whole work is done"
    assert not torch.equal(g4seg(image, scores, model=small, settings=replace(settings, beta=0.5)).values, scores.values)


def test_only_uncertain_pixels_move(small: Networks) -> None:
    image, scores = photo(), coarse_scores(40, 56, (0, 2))
    result = g4seg(image, scores, model=small, settings=replace(WORKING, beta=0.2))
    inside = (scores.values[1] >= 0.2) & (scores.values[1] <= 0.6)
    assert torch.equal(result.values[:, ~inside], scores.values[:, ~inside])
    assert (result.values[:, inside] != scores.values[:, inside]).any()


def test_classes_in_blocks_and_company_change_nothing(small: Networks) -> None:
    image, other, scores = photo(), photo(30, 30, 5), coarse_scores(40, 56)
    whole = g4seg(image, scores, model=small, settings=WORKING)
    blocks = g4seg(image, scores, model=small, settings=replace(WORKING, batch=1))
    assert (whole.values - blocks.values).abs().max() < 1e-4
    both = g4seg_batch([other, image], [coarse_scores(30, 30), scores], model=small, settings=WORKING)
    assert torch.equal(both[1].values, whole.values)


def test_blocks_shrink_where_memory_ends() -> None:
    tried: list[int] = []

    def work(block: slice) -> list[int]:
        tried.append(block.stop - block.start)
        if block.stop - block.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(block.start, block.stop))

    assert [i for part in in_blocks(7, 8, work) for i in part] == list(range(7))
    assert tried == [7, 4, 2, 2, 2, 1]
    with pytest.raises(RuntimeError, match="shape"):
        in_blocks(4, 4, lambda block: (_ for _ in ()).throw(RuntimeError("shape mismatch")))


def test_hard_masks_are_softened(small: Networks) -> None:
    """A hard mask has no probability in the filter's range; softened it has, at its outline only."""
    hard = torch.zeros(2, 40, 40)
    hard[1, :, 20:] = 1
    hard[0] = 1 - hard[1]
    scores = Scores(("cat",), (0, 1), hard)
    result = g4seg(photo(40, 40), scores, model=small, settings=replace(WORKING, beta=0.0, soften=0.05))
    moved = (result.values != hard).any(0).any(0).nonzero().flatten()
    assert len(moved)
    assert 14 <= int(moved.min()) <= int(moved.max()) <= 25
    still = g4seg(photo(40, 40), scores, model=small, settings=replace(WORKING, beta=0.0, soften=0.0))
    assert torch.equal(still.values, hard)


def test_softening_changes_no_label_and_knows_hard_masks() -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, (6, 6)).repeat(9, 0).repeat(9, 1))
    labels[:, 20] = 2  # thin: a blur alone would take it away
    values = torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()
    found = soften(values, 0.1)
    assert torch.equal(found.argmax(0), labels)
    assert torch.allclose(found.sum(0), torch.ones(54, 54), atol=1e-5)
    assert float(found.amax(0).min()) < 0.6, "outlines are uncertain"
    void = torch.full_like(values[:, :5], 1 / 3)
    assert is_hard(values)
    assert is_hard(torch.cat([0.98 * values + 0.02 / 3, void], 1)), "void says nothing against it"
    assert not is_hard(found)


def test_the_blur_is_a_gaussian() -> None:
    values = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))[0]
    values = values / values.sum(0)
    found = blur(values, 0.04)
    for row, one in zip(values.numpy(), found.numpy(), strict=True):
        expected = ndimage.gaussian_filter(row.astype(np.float64), 0.04 * 128, mode="nearest", radius=round(3 * 0.04 * 128))
        assert np.abs(one - expected).max() < 1e-5
    assert torch.allclose(found.sum(0), torch.ones(128, 128), atol=1e-5)
    assert torch.equal(soften(values, 0), values)
    assert is_hard(torch.tensor([[[0.0, 1.0]]]))
    assert not is_hard(values)


def test_injection_alone_mixes_with_attention(small: Networks) -> None:
    settings = replace(WORKING, correspondence=False, cross=50.0)
    image, scores = photo(), coarse_scores(40, 56)
    shown = next(passes(image, scores, scores.values, small, settings))
    assert not shown.pictures.numel()
    assert not torch.equal(shown.after, shown.before)
    assert torch.equal(shown.after[0], shown.before[0])


def test_emi_is_that_under_its_own_name_and_asks_for_no_clip(small: Networks) -> None:
    """S + (1 - beta) (A - S), A made by hand: mean over layers of the heads' mean attention to the word, 0..1 over the photo."""
    image, scores = photo(16, 16), coarse_scores(16, 16, (0, 2))
    seen: list[Tensor] = []
    lonely = weights.load(small.preset.name, "cpu")
    found = EMI(cross=20.0, beta=0.7, grid=16)(image, scores, lonely)
    assert "clip" not in vars(lonely)
    settings = G4SegSettings(cross=20.0)
    net, word = small.diffusion, scores.words[1]
    mask = (scores.values.argmax(0) == 1).float()
    latents = net.encode(square(image, small, settings)[None].float() / 255)
    tokens = named_tokens(net.tokenizers[0], word, 32)
    wide = torch.nn.functional.interpolate(mask[None, None], (128, 128), mode="area")[0]
    with torch.no_grad(), injected(net.unet, Injection(wide, tokens[None], 20.0, 0.3, 0.5), seen.append):
        net.predict(net.noise(latents, 400, 0), 400, net.embed([PROMPT.format(word)]))
    maps = []
    for one in seen:
        side = math.isqrt(one.shape[1])
        named = one[0, :, tokens > 0].sum(1).view(1, 1, side, side)
        maps.append(torch.nn.functional.interpolate(named, (16, 16), mode="bilinear", align_corners=False)[0, 0])
    total = torch.stack(maps).mean(0)
    a = (total - total.min()) / (total.max() - total.min())
    expected = scores.values.clone()
    expected[1] += 0.3 * (a - scores.values[1])
    assert (found.values - expected / expected.sum(0)).abs().max() < 1e-5
    with pytest.raises(InputError, match="emi runs on a diffusion model"):
        EMI()(image, scores)


# --- options -------------------------------------------------------------------------------------------------------------


def test_null_text_inversion_follows_the_photo(mini: Networks) -> None:
    """Fitting the empty prompt brings the way back nearer to the photo's own latents, and nearer than one step does."""
    image = read_scenes("val", 1).images[0]
    base = G4SegSettings(cross=0.0, self_=0.0)
    pixels = square(image, mini, base)
    latents = mini.diffusion.encode(pixels[None].float() / 255)
    masks = torch.ones(1, 128, 128)
    made: dict[str, float] = {}
    options: dict[str, InversionSettings | None] = {
        "one step": None, "unfitted": InversionSettings(3, 0), "fitted": InversionSettings(3, 4),
    }  # fmt: skip
    for name, inversion in options.items():
        clean = Reconstructor(mini.diffusion, latents, replace(base, inversion=inversion))._clean(["dog"], masks, True, None)
        made[name] = float((clean - latents).square().mean())
    assert made["fitted"] < 0.7 * made["unfitted"]
    assert made["fitted"] < 0.5 * made["one step"]


def test_null_text_inversion_of_several_classes_is_each_by_itself(small: Networks) -> None:
    settings = replace(STRONG, inversion=InversionSettings(2, 2))
    latents = small.diffusion.encode(square(photo(), small, settings)[None].float() / 255)
    reconstructor = Reconstructor(small.diffusion, latents, settings)
    words, masks = ["dog", "cat"], blobs(3, 128)[1:]
    both = reconstructor(words, masks)
    for k in range(2):
        assert (reconstructor(words[k : k + 1], masks[k : k + 1]) - both[k : k + 1]).abs().max() < 1e-4


@pytest.mark.parametrize("shape", ["sd1", "xl"])
def test_controlnet_takes_the_place_of_attention(tmp_path: Path, shape: str) -> None:
    networks = weights.load(tiny.preset(tmp_path / "sd", shape, vit=None), "cpu")
    latents = networks.diffusion.encode(square(photo(), networks, STRONG)[None].float() / 255)
    words, masks = ["dog", "cat"], blobs(3, 128)[1:]
    plain = Reconstructor(networks.diffusion, latents, STRONG)(words, masks, inject=False)
    untrained = weights.load_controlnet(tiny.controlnet(tmp_path / "zero", shape, zero=True), "cpu")
    same = Reconstructor(networks.diffusion, latents, STRONG, untrained)(words, masks)
    assert torch.allclose(same, plain, atol=1e-6), "zero layers add nothing, and attention is left alone"
    trained = weights.load_controlnet(tiny.controlnet(tmp_path / "random", shape), "cpu")
    pushed = Reconstructor(networks.diffusion, latents, STRONG, trained)(words, masks)
    assert (pushed - plain).abs().max() > 1e-3
    swapped = Reconstructor(networks.diffusion, latents, STRONG, trained)(words, masks.flip(0))
    assert not torch.allclose(swapped, pushed, atol=1e-4), "it sees the mask"
    coloured = replace(STRONG, layout_colors=(("dog", (120, 10, 10)),))
    other = Reconstructor(networks.diffusion, latents, coloured, trained)(words, masks)
    assert not torch.allclose(other[0], pushed[0], atol=1e-4)
    assert torch.allclose(other[1], pushed[1], atol=1e-6)
    result = g4seg(photo(), coarse_scores(40, 56), model=networks, settings=WORKING, controlnet=trained)
    assert torch.isfinite(result.values).all()


def test_controlnet_of_another_unet_is_refused(small: Networks, tmp_path: Path) -> None:
    foreign = weights.load_controlnet(tiny.controlnet(tmp_path / "xl", "xl"), "cpu")
    with pytest.raises(WeightsError, match="made for this U-Net"):
        g4seg(photo(), coarse_scores(40, 56), model=small, settings=WORKING, controlnet=foreign)
    with pytest.raises(WeightsError, match="missing"):
        weights.load_controlnet(tmp_path / "nowhere", "cpu")


def test_guidance_embedding_is_diffusers() -> None:
    from diffusers import LatentConsistencyModelPipeline

    from segwright.models.diffusion import LCM_GUIDANCE, guidance_embedding

    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, torch.tensor([LCM_GUIDANCE - 1.0]), 256)
    assert torch.allclose(guidance_embedding(LCM_GUIDANCE, 256), theirs, atol=2e-3)  # sines of thousands, in float32


# --- contracts -----------------------------------------------------------------------------------------------------------


def test_contract(shaped: Networks) -> None:
    check_refiner(g4seg, model=shaped, settings=replace(WORKING, passes=2))


def test_a_row_of_refiners_runs_in_order_on_the_networks_handed_in(mini: Networks) -> None:
    image, scores = photo(), coarse_scores(40, 56)
    direct = g4seg(image, scores, model=mini)
    assert torch.equal(refine(image, scores, parse_refiners("g4seg"), mini).values, direct.values)
    last = crf(image, direct)
    assert torch.equal(refine(image, scores, parse_refiners("g4seg, crf"), mini).values, last.values)
    assert torch.equal(refine(image, scores, (G4Seg(), CRF()), mini).values, last.values)
    own = parse_refiners("crf", {"crf": CRF.of("clip-es")})
    assert own == (CRF.of("clip-es"),)
    with pytest.raises(InputError, match="give it networks"):
        G4Seg()(image, scores)
    with pytest.raises(InputError, match="refine must be of crf, pamr, g4seg"):
        parse_refiners("crf,blur")


def test_a_perfect_mask_stays(mini: Networks) -> None:
    """Hard, and as sure of itself as a good method: 0.9 inside."""
    scenes = read_scenes("val", 4)
    for trust in (1.0, 0.9):
        matrices = []
        for image, truth in zip(scenes.images, scenes.truths, strict=True):
            labels = (0, *(int(v) for v in np.unique(truth) if v))
            values = torch.stack([torch.from_numpy(truth == v).float() for v in labels]) * trust + (1 - trust) / len(labels)
            result = g4seg(image, Scores(THINGS, labels, values), model=mini)
            matrices.append(confusion(truth, result.argmax().numpy(), len(THINGS) + 1))
        assert miou(np.sum(matrices, 0)) >= 0.995


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timestep": 0}, "timestep"), ({"beta": 1.5}, "beta"), ({"certain": (0.7, 0.2)}, "certain"), ({"passes": 0}, "passes"),
        ({"prompt": "a photo"}, "prompt"), ({"cross": math.inf}, "cross"), ({"grid": 0}, "grid"), ({"batch": 0}, "batch"),
        ({"reach": -0.1}, "reach"), ({"soften": 1.0}, "soften"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        G4SegSettings(**settings)


def test_bad_layer_and_sizes(small: Networks) -> None:
    with pytest.raises(InputError, match="layer"):
        g4seg(photo(), coarse_scores(40, 56), model=small, settings=replace(WORKING, layer=-9))
    with pytest.raises(InputError, match="one size"):
        g4seg(photo(), coarse_scores(56, 40), model=small)
    with pytest.raises(InputError, match="steps"):
        InversionSettings(0)
