"""iSeg against a slow twin of its published steps, in plain loops; prompts, heads and pages; all words in one pass."""

from __future__ import annotations

from pathlib import Path

import contracts
import numpy as np
import pytest
import tiny
import torch
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.methods.diffsegmenter import DiffSegmenter, DiffSegmenterSettings
from segwright.methods.iseg.method import HEADS_VOC, LAYERS, PUBLISHED, ISeg, ISegSettings
from segwright.metrics import confusion, miou
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.diffusion import Diffusion
from segwright.runs.explain import explain
from segwright.weights import Networks, load
from segwright.words.presence import Chosen

Array = NDArray[np.float64]
WORDS = ("dog", "potted plant", "boat", "car", "apple", "sheep")
CHOSEN = Chosen(None, (), WORDS, tuple(range(6)))
SETTINGS = ISegSettings(heads=(0, 1), entropy=0.3, iterations=3, context=("sky", "sea"))


@pytest.fixture(scope="module", params=tiny.SHAPES)
def networks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """A U-Net whose attention is far from even."""
    networks = load(tiny.diffusion(tmp_path_factory.mktemp(request.param), request.param), "cpu")
    for name, p in networks.diffusion.unet.named_parameters():
        if ".to_q" in name or ".to_k" in name:
            p.mul_(5)
    return networks


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def array(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def slow_attention(diffusion: Diffusion, photo: NDArray[np.uint8], text: str, emphasised: list[int]) -> dict[str, list[Array]]:
    """The pass itself: each attention's heads as (queries, keys), from queries and keys as they leave their layers."""
    modules = {n: m for n, m in diffusion.unet.named_modules() if n.endswith((".attn1", ".attn2"))}
    caught: dict[tuple[str, str], Array] = {}

    def keep(key: tuple[str, str]) -> object:
        return lambda _module, _inputs, output: caught.__setitem__(key, array(output[0]))

    handles = [getattr(m, part).register_forward_hook(keep((n, part))) for n, m in modules.items() for part in ("to_q", "to_k")]
    embedding = diffusion.embed([text])
    for i in emphasised:
        embedding.tokens[0, i] *= 1.6
    latents = diffusion.noise(diffusion.encode(diffusion.pixels([photo])), 100, 0)
    with torch.no_grad():
        diffusion.predict(latents, 100, embedding)
    for handle in handles:
        handle.remove()
    found = {}
    for name, module in modules.items():
        q, k = caught[name, "to_q"], caught[name, "to_k"]
        width = q.shape[1] // module.heads
        found[name] = []
        for h in range(module.heads):
            part = slice(h * width, (h + 1) * width)
            logits = q[:, part] @ k[:, part].T / width**0.5
            high = np.exp(logits - logits.max(1, keepdims=True))
            found[name].append(high / high.sum(1, keepdims=True))
    return found


def slow_clusters(tokens: Array, n: int) -> Array:
    """KL clustering of n * n cells by their L values, 20 rounds from a grid; each cell's cluster mean."""
    points = np.where(tokens == 0, 1e-6, tokens).T
    step = max(1, int(n // 32**0.5))
    prototypes = [points[y * n + x] for y in range(0, n, step) for x in range(0, n, step)]
    nearest = np.zeros(n * n, int)
    for _ in range(20):
        for i, q in enumerate(points + 1e-5):
            apart = []
            for p in (p + 1e-5 for p in prototypes):
                apart.append(0.5 * np.sum(p * np.log(p / q)) + 0.5 * np.sum(q * np.log(q / p)))
            nearest[i] = int(np.argmin(apart))
        prototypes = [points[nearest == c].mean(0) for c in sorted(set(nearest.tolist()))]
    out = tokens.copy()
    for c in set(nearest.tolist()):
        for token in range(len(tokens)):
            out[token, nearest == c] = tokens[token, nearest == c].mean()
    return out


def slow_iseg(
    diffusion: Diffusion, photo: NDArray[np.uint8], text: str, places: list[list[int]], cross: dict[int, list[str]], own: str
) -> tuple[Array, Array, Array]:
    """Steps 2 to 4 for one prompt; layers by name. Each (K, n, n)."""
    attention = slow_attention(diffusion, photo, text, [i for spots in places for i in spots])
    n = round(len(attention[own][0]) ** 0.5)
    mixed = np.zeros((attention[cross[16][0]][0].shape[1], n * n))
    for resolution, weight in ((16, 0.7), (32, 0.3)):
        heads = [head for name in cross[resolution] for head in attention[name]]
        mean = sum(heads) / len(heads)
        side = round(len(mean) ** 0.5)
        for token in range(len(mixed)):
            one = torch.from_numpy(mean[:, token] / mean[:, token].sum()).view(1, 1, side, side)
            mixed[token] += weight * torch.nn.functional.interpolate(one, (n, n), mode="bilinear").numpy().ravel()
    alike = slow_clusters(mixed, n)
    matrix = (attention[own][0] + attention[own][1]) / 2
    for j in range(n * n):
        matrix[:, j] /= matrix[:, j].max()
    for i in range(n * n):
        for j in range(n * n):
            if matrix[i, j]:
                matrix[i, j] = max(0.0, matrix[i, j] + 0.3 * np.log10(np.e * matrix[i, j]))
        matrix[i] /= matrix[i].sum()
    refined = []
    for spots in places:
        c = sum(alike[i] for i in spots) / len(spots)
        c = c - c.min()
        c = c / c.sum()
        for _ in range(3):
            c = matrix @ c
            c = c - c.min()
            c = c / c.sum()
        refined.append(c.reshape(n, n))
    plain = [np.mean([m[i] for i in spots], 0).reshape(n, n) for m in (mixed, alike) for spots in places]
    return np.array(plain[: len(places)]), np.array(plain[len(places) :]), np.array(refined)


def layers_of(diffusion: Diffusion) -> tuple[dict[int, list[str]], str]:
    """The published layers by name in SD 1.x and 2.x; all at these resolutions, and the finest decoder block's second, in XL."""
    names = [n for n, _ in diffusion.unet.named_modules() if n.endswith(".attn2")]
    if len(diffusion.text_encoders) == 1:
        down, up = (
            "down_blocks.{}.attentions.{}.transformer_blocks.0.attn2",
            "up_blocks.{}.attentions.{}.transformer_blocks.0.attn2",
        )
        coarse = [down.format(2, 0), down.format(2, 1), up.format(1, 0), up.format(1, 1), up.format(1, 2)]
        return {16: coarse, 32: [down.format(1, 1), up.format(2, 0), up.format(2, 1)]}, (
            "up_blocks.3.attentions.1.transformer_blocks.0.attn1"
        )
    last = "transformer_blocks.1" if any("transformer_blocks.1" in n for n in names) else "transformer_blocks.0"
    coarse = [n for n in names if n.startswith(("down_blocks.2", "mid_block", "up_blocks.0")) and last in n]
    fine = [n for n in names if n.startswith(("down_blocks.1", "up_blocks.1"))]
    return {16: coarse, 32: fine}, "up_blocks.1.attentions.1.transformer_blocks.0.attn1"


def test_maps_are_the_published_steps(networks: Networks, photo: NDArray[np.uint8]) -> None:
    """Two prompts for six words in a context of 32 tokens; every map within 1e-5 of its largest value; seen: 2e-6 at most."""
    diffusion = networks.diffusion
    steps = ISeg(networks, SETTINGS).steps(photo, CHOSEN)
    texts = [p.text for p in steps.prompts]
    assert texts[0].startswith("a photograph of dog and potted plant and boat and ")
    assert all(t.endswith(" and other object and background, sky, sea") for t in texts)
    assert [w for p in steps.prompts for w in p.words] == list(range(6))
    cross, own = layers_of(diffusion)
    at, worst = 0, 0.0
    for prompt in steps.prompts:
        ids = list(diffusion.tokenizers[0](prompt.text).input_ids)
        places, start = [], 4
        for word in (WORDS[w] for w in prompt.words):
            part = list(diffusion.tokenizers[0](word).input_ids)[1:-1]
            start = next(i for i in range(start, len(ids)) if ids[i : i + len(part)] == part)
            places.append(list(range(start, start + len(part))))
            start += len(part)
        assert tuple(tuple(p) for p in places) == prompt.places
        twins = slow_iseg(diffusion, photo, prompt.text, places, cross, own)
        until = at + len(places)
        for ours, twin in zip((steps.cross, steps.shared, steps.refined), twins, strict=True):
            assert twin.std() > 0
            worst = max(worst, float(np.abs(array(ours[at:until]) - twin).max() / twin.max()))
        at = until
    assert worst < 1e-5


def test_background_is_what_no_word_has_or_a_threshold(networks: Networks, photo: NDArray[np.uint8]) -> None:
    """Step 5, pixel by pixel; pixels whose two best are within 1e-4 are left out."""
    steps = ISeg(networks, SETTINGS).steps(photo, CHOSEN)
    side = 8 * steps.refined.shape[1]
    maps = array(torch.nn.functional.interpolate(steps.refined[None], (side, side), mode="bilinear")[0])
    for k in range(len(maps)):
        maps[k] = (maps[k] - maps[k].min()) / (maps[k].max() - maps[k].min())
    for threshold in (0.0, 0.45):
        settings = ISegSettings(**(vars(SETTINGS) | {"threshold": threshold}))
        found = ISeg(networks, settings).scores(photo, CHOSEN).argmax().numpy()
        back = np.full_like(maps[0], threshold) if threshold else (1 - maps.max(0)) ** 2
        every = np.concatenate([back[None], maps])
        wide = torch.nn.functional.interpolate(torch.from_numpy(every / every.sum(0))[None], (50, 70), mode="bilinear")[0].numpy()
        two = np.sort(wide, 0)[-2:]
        clear = two[1] - two[0] > 1e-4
        assert clear.mean() > 0.8
        assert (found[clear] == wide.argmax(0)[clear]).mean() > 0.99  # words that win no cell are dropped before the resize


def test_chosen_heads_are_counted_over_layers(networks: Networks, photo: NDArray[np.uint8]) -> None:
    only = ISeg(networks, ISegSettings(**(vars(SETTINGS) | {"cross_heads": ((16, (5,)), (32, (0,))), "clusters": 0})))
    steps = only.steps(photo, Chosen(None, (), ("dog",), (0,)))
    cross, own = layers_of(networks.diffusion)
    attention = slow_attention(networks.diffusion, photo, steps.prompts[0].text, list(steps.prompts[0].places[0]))
    mixed = torch.zeros(())
    n = round(len(attention[own][0]) ** 0.5)
    for resolution, head, weight in ((16, 5, 0.7), (32, 0, 0.3)):
        one = [h for name in cross[resolution] for h in attention[name]][head]
        side = round(len(one) ** 0.5)
        token = torch.from_numpy(one[:, 4] / one[:, 4].sum()).view(1, 1, side, side)
        mixed = mixed + weight * torch.nn.functional.interpolate(token, (n, n), mode="bilinear")[0, 0]
    np.testing.assert_allclose(array(steps.cross[0]), mixed.numpy(), atol=1e-6)
    with pytest.raises(InputError, match=r"cross_heads must be of 0\.\..* here, got up to 96|HEADS_VOC are heads of SD 2.1"):
        ISeg(networks, ISegSettings(**(vars(SETTINGS) | {"cross_heads": HEADS_VOC}))).steps(photo, CHOSEN)


def test_heads_that_are_not_there_are_refused(networks: Networks, photo: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"has heads 0\.\..*choose other heads"):
        ISeg(networks, ISegSettings(heads=(9,))).steps(photo, CHOSEN)
    coarse = ISeg(load("mini", "cpu"), ISegSettings(weights=((8, 1.0),)))
    with pytest.raises(InputError, match="no cross-attention at resolutions"):
        coarse.steps(photo, CHOSEN)


def test_one_pass_of_diffsegmenter_for_all_words(networks: Networks, photo: NDArray[np.uint8]) -> None:
    method = DiffSegmenter(networks, DiffSegmenterSettings(caption=False, emphasis=1.5))
    alone = method.all_words(photo, ["dog"])
    torch.testing.assert_close(alone, method.maps(photo, ["dog"]), rtol=1e-4, atol=1e-5)
    several = method.all_words(photo, WORDS)
    assert several.shape == (6, *alone.shape[1:])
    assert not torch.allclose(several[0], alone[0], atol=1e-4)
    swapped = method.all_words(photo, WORDS[::-1])
    assert float((swapped.flip(0) - several).abs().mean()) < 0.2


@pytest.fixture(scope="module")
def mini() -> Networks:
    return load("mini", "cpu")


def test_finds_what_is_in_the_scenes(mini: Networks) -> None:
    scenes = read_scenes("val", 5)
    method = ISeg(mini, ISegSettings(candidates="none"))
    matrices = []
    for image, truth, note in zip(scenes.images, scenes.truths, scenes.notes, strict=True):
        result = method(image, note["things"])
        place = np.array([0, *(1 + THINGS.index(w) for w in result.words)])
        matrices.append(confusion(truth, place[result.labels], len(THINGS) + 1))
    assert miou(np.sum(matrices, axis=0)) > 0.2


def test_two_hundred_words_take_several_prompts(mini: Networks) -> None:
    words = [*THINGS, *(f"{a} {b}" for a in ("red", "blue", "old", "big", "wet", "tin", "raw", "mad") for b in THINGS)][:200]
    result = ISeg(mini, ISegSettings(candidates="none", clusters=0))(contracts.photo(), words)
    assert 8 < len(result.notes["prompts"]) < 200
    assert all(any(w in text for text in result.notes["prompts"]) for w in words)


def test_page(mini: Networks, tmp_path: Path) -> None:
    image = contracts.photo(100, 128)
    page = explain(image, ISeg(mini), tmp_path / "page.html", ["dog", "car", "sky"]).read_text("utf8")
    assert "a photograph of" in page or "No word is left" in page
    whole = explain(image, ISeg(mini, ISegSettings(candidates="none", refine="crf")), tmp_path / "all.html", ["dog", "car"])
    assert whole.read_text("utf8").count("<img") == 1 + 3 * 2 + 2


def test_published_settings_are_settings() -> None:
    for changes in PUBLISHED.values():
        ISegSettings(**changes)
    assert [len(heads) for _, heads in HEADS_VOC] == [41, 9]
    assert len(set(LAYERS)) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"timestep": 1000}, "timestep must"), ({"threshold": 2}, "threshold in"), ({"iterations": -1}, "iterations, layer"),
     ({"emphasis": 0}, "emphasis above"), ({"weights": ((7, 1.0),)}, "weights must"), ({"context": "sky"}, "context must"),
     ({"rounds": 0}, "rounds must"), ({"candidates": "x"}, "candidates must"), ({"refine": "x"}, "refine must")],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ISegSettings(**settings)
