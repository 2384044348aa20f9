"""CLIPer against a slow twin of its published steps, in plain loops; windows, thresholds and pages."""

from __future__ import annotations

from pathlib import Path

import contracts
import numpy as np
import pytest
import tiny
import torch
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.methods.cliper.method import PUBLISHED, CLIPer, CLIPerSettings
from segwright.mini.scenes import THINGS
from segwright.models.clip import Clip
from segwright.models.clip_dense import pixels
from segwright.models.diffusion import Diffusion
from segwright.runs.explain import explain
from segwright.weights import Networks, load
from segwright.words.presence import Chosen

Array = NDArray[np.float64]
WORDS, BACK = ("dog", "cat", "boat"), ("sky", "sea")
SETTINGS = CLIPerSettings(window=224, templates=("a {}",), background=BACK, score=0.0)
CHOSEN = Chosen(None, (), WORDS, (0, 1, 2))


@pytest.fixture(scope="module", params=tiny.SHAPES)
def networks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """A CLIP of three blocks whose words differ, and a U-Net whose attention is far from even."""
    folder = tiny.diffusion(tmp_path_factory.mktemp(request.param), request.param)
    tiny.clip(folder / "clip", layers=3)
    networks = load(folder, "cpu")
    generator = torch.Generator().manual_seed(1)
    for p in networks.clip.model.parameters():
        p.add_(0.25 * torch.randn(p.shape, generator=generator))
    networks.clip.model.logit_scale.fill_(2.0)
    for name, p in networks.diffusion.unet.named_parameters():
        if "attn1.to_" in name:
            p.mul_(6)
    return networks


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)


def array(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def norm(x: Array, layer: torch.nn.LayerNorm) -> Array:
    """LayerNorm, one token after the other."""
    out = np.empty_like(x)
    for i, token in enumerate(x):
        out[i] = (token - token.mean()) / np.sqrt(token.var() + layer.eps) * array(layer.weight) + array(layer.bias)
    return out


def linear(x: Array, layer: torch.nn.Linear) -> Array:
    return x @ array(layer.weight).T + (array(layer.bias) if layer.bias is not None else 0)


def softmax(x: Array) -> Array:
    high = np.exp(x - x.max(0))
    return high / high.sum(0)


def slow_logits(clip: Clip, seen: torch.Tensor, texts: Array, scale: float, rounds: int | None) -> tuple[Array, Array]:
    """Steps 1 and 2, and the logits of 3: (N, texts, cells) and the head-mean attention, from what transformers says."""
    tower = clip.model.vision_model
    clip.model.set_attn_implementation("eager")
    told = tower(pixel_values=seen, output_hidden_states=True, output_attentions=True, interpolate_pos_encoding=True)
    clip.model.set_attn_implementation("sdpa")
    blocks, last = list(tower.encoder.layers), tower.encoder.layers[-1]
    heads = last.self_attn.num_heads
    sums = [sum(array(told.attentions[b][0, h]) for b in range(len(blocks) - 1)) for h in range(heads)]
    entering = [norm(array(told.hidden_states[b][0]), blocks[b].layer_norm1) for b in range(len(blocks) - 1)]
    entering.append(array(told.hidden_states[len(blocks) - 1][0]))
    logits, mean = [], np.zeros(())
    for k, tokens in enumerate(entering):
        values = linear(norm(tokens, last.layer_norm1), last.self_attn.v_proj)
        width = values.shape[1] // heads
        mixed, mean = np.zeros_like(values), np.zeros_like(sums[0])
        for h in range(heads):
            for _ in range((1 if rounds is None else rounds) if rounds is None or k == 0 else 0):
                for j in range(len(mean)):
                    sums[h][:, j] /= sums[h][:, j].sum()
                for i in range(len(mean)):
                    sums[h][i] /= sums[h][i].sum()
            matrix = (sums[h] + sums[h].T) / 2
            for j in range(len(mean)):
                matrix[:, j] -= matrix[:, j].mean()
            matrix = np.maximum(matrix, 0)
            for i in range(len(mean)):
                matrix[i] /= matrix[i].sum()
            mixed[:, h * width : (h + 1) * width] = matrix @ values[:, h * width : (h + 1) * width]
            mean = mean + matrix / heads
        out = linear(norm(linear(mixed, last.self_attn.out_proj), tower.post_layernorm), clip.model.visual_projection)[1:]
        logits.append(np.array([[scale * t @ cell / np.linalg.norm(cell) / np.linalg.norm(t) for cell in out] for t in texts]))
    return np.array(logits), mean[1:, 1:]


def slow_early(networks: Networks, photo: NDArray[np.uint8], settings: CLIPerSettings) -> Array:
    """Steps 1 to 3 for the fixture's sizes: 6 x 9 cells of 8 pixels, windows of 4 cells every 2."""
    clip, (h, w) = networks.clip, (6, 9)
    seen = pixels(clip, photo, (8 * h, 8 * w))
    unit = array(clip.embed_texts([f"a {word}" for word in (*WORDS, *BACK)]))
    texts = np.concatenate([unit, unit[:3].mean(0)[None]])
    scale = settings.scale * clip.logit_scale
    logits, attention = slow_logits(clip, seen, texts, scale, settings.rounds)
    probabilities = np.array([softmax(layer)[:3] for layer in logits])
    if settings.window:
        total, count = np.zeros((3, 6, h, w)), np.zeros((h, w))
        near, times = np.zeros((h, w, h, w)), np.zeros((h, w, h, w))
        for y in (0, 2):
            for x in (0, 2, 4, 5):
                cut = seen[:, :, 8 * y : 8 * y + 32, 8 * x : 8 * x + 32]
                its, own = slow_logits(clip, cut, texts, scale, settings.rounds)
                total[:, :, y : y + 4, x : x + 4] += its.reshape(3, 6, 4, 4)
                count[y : y + 4, x : x + 4] += 1
                near[y : y + 4, x : x + 4, y : y + 4, x : x + 4] += own.reshape(4, 4, 4, 4)
                times[y : y + 4, x : x + 4, y : y + 4, x : x + 4] += 1
        joined = (near / (times + 1e-5)).reshape(h * w, h * w)
        joined /= joined.sum(1, keepdims=True)
        slid = (total / count).reshape(3, 6, h * w) @ joined
        probabilities = 0.5 * probabilities + 0.5 * np.array([softmax(layer)[:3] for layer in slid])
    for k in range(3):
        probabilities[settings.layer, k][
            probabilities[settings.layer, k] < settings.least * probabilities[settings.layer, k].max()
        ] = 0
    smooth = np.zeros((3, h * w))
    for k in range(3):
        for j in range(h * w):
            smooth[k, j] = sum(probabilities[settings.layer, k, i] * attention[i, j] for i in range(h * w))
    return (smooth + probabilities.mean(0)).reshape(3, h, w)


def slow_fine(diffusion: Diffusion, photo: NDArray[np.uint8], early: Array, settings: CLIPerSettings) -> Array:
    """Step 4: queries and keys caught as they leave their layers; all heads' matrices multiplied, then the maps."""
    block = max(i for i, b in enumerate(diffusion.unet.up_blocks) if getattr(b, "attentions", None))
    modules = [diffusion.unet.up_blocks[block].attentions[i].transformer_blocks[-1].attn1 for i in (1, 0)]
    caught: dict[tuple[int, str], Array] = {}

    def keep(key: tuple[int, str]) -> object:
        return lambda _module, _inputs, output: caught.__setitem__(key, array(output[0]))

    handles = [getattr(m, part).register_forward_hook(keep((i, part))) for i, m in enumerate(modules) for part in ("to_q", "to_k")]
    latents = diffusion.noise(diffusion.encode(diffusion.pixels([photo])), 101, 0)
    with torch.no_grad():
        diffusion.predict(latents, 101, diffusion.embed([""]))
    for handle in handles:
        handle.remove()
    cells = len(caught[0, "to_q"])
    product = np.eye(cells)
    for i, module in enumerate(modules):
        q, k = caught[i, "to_q"], caught[i, "to_k"]
        width = q.shape[1] // module.heads
        for head in range(module.heads):
            part = slice(head * width, (head + 1) * width)
            matrix = softmax((q[:, part] @ k[:, part].T / width**0.5).T).T
            for j in range(cells):
                matrix[:, j] /= matrix[:, j].max() + 1e-5
            matrix[matrix < settings.least] = 0
            for r in range(cells):
                matrix[r] /= matrix[r].sum() + 1e-5
            product = product @ matrix
    n = round(cells**0.5)
    small = torch.nn.functional.interpolate(torch.from_numpy(early)[None], (n, n), mode="bilinear")[0].flatten(1).numpy()
    return (product @ small.T).T.reshape(3, n, n)


@pytest.mark.parametrize("change", [{}, {"window": 0, "rounds": 1}, {"rounds": 2, "layer": -1, "least": 0.2}], ids=str)
def test_maps_and_scores_are_the_published_steps(networks: Networks, photo: NDArray[np.uint8], change: dict) -> None:
    """Every map within 1e-5; seen: 2e-7 at most."""
    settings = CLIPerSettings(**(vars(SETTINGS) | change))
    steps = CLIPer(networks, settings).steps(photo, CHOSEN)
    early = slow_early(networks, photo, settings)
    fine = slow_fine(networks.diffusion, photo, early, settings)
    assert early.std() > 0.01
    assert fine.std() > 1e-3
    worst = max(np.abs(array(steps.early) - early).max(), np.abs(array(steps.fine) - fine).max())
    assert worst < 1e-5
    np.testing.assert_allclose(array(steps.scores), (early.max((1, 2)) + fine.max((1, 2))) / 2, atol=1e-5)


@pytest.mark.parametrize(
    "change", [{"threshold": 0.7}, {"threshold": 0.0}, {"stretch": False, "threshold": "middle"}, {"score": "middle"}], ids=str
)
def test_labels_are_the_published_thresholds(networks: Networks, photo: NDArray[np.uint8], change: dict) -> None:
    """Step 5, pixel by pixel; pixels whose two best are within 1e-5 are left out."""
    steps = CLIPer(networks, SETTINGS).steps(photo, CHOSEN)
    if change.get("score") == "middle":
        change = {"score": float(steps.scores.sort().values[:2].mean())}
    if change.get("threshold") == "middle":
        maps = steps.fine / steps.fine.amax((1, 2), keepdim=True) * steps.scores[:, None, None]
        change = change | {"threshold": float(maps.amax(0).median())}
    settings = CLIPerSettings(**(vars(SETTINGS) | change))
    found = CLIPer(networks, settings).scores(photo, CHOSEN).argmax().numpy()
    wide = torch.nn.functional.interpolate(steps.fine[None], (8 * steps.fine.shape[1],) * 2, mode="bilinear")
    maps, scores = array(wide[0]), array(steps.scores)
    for k in range(3):
        maps[k] = maps[k] / (maps[k].max() + 1e-5) * scores[k]
        if settings.stretch:
            maps[k] = (maps[k] - maps[k].min()) / (maps[k].max() - maps[k].min())
        if scores[k] <= settings.score:
            maps[k] = 0
    back = np.full_like(maps[0], settings.threshold) if settings.threshold else (1 - maps.max(0)) ** 2
    every = np.concatenate([back[None], maps])
    every = every / every.sum(0)
    at_photo = torch.nn.functional.interpolate(torch.from_numpy(every)[None], (40, 61), mode="bilinear")[0].numpy()
    two = np.sort(at_photo, 0)[-2:]
    clear = two[1] - two[0] > 1e-5
    assert clear.mean() > 0.9
    assert np.array_equal(found[clear], at_photo.argmax(0)[clear])
    assert len(np.unique(found)) > 1


@pytest.fixture(scope="module")
def mini() -> Networks:
    return load("mini", "cpu")


def test_notes_and_page(mini: Networks, tmp_path: Path) -> None:
    image = contracts.photo(100, 128)
    method = CLIPer(mini, CLIPerSettings(score=0.0))
    result = method(image, THINGS)
    assert result.labels.shape == (100, 128)
    assert list(result.notes["word_scores"]) == list(THINGS)
    page = explain(image, method, tmp_path / "page.html", THINGS).read_text("utf8")
    assert page.count("<img") == 2 + 2 * 12
    assert "up_blocks.1.attentions.1.transformer_blocks.0.attn1, up_blocks.1.attentions.0" in page
    trace = method.trace(image, THINGS)
    assert np.array_equal(trace.segmentation.labels, result.labels)
    assert trace.body() in page
    strict = CLIPer(mini, CLIPerSettings(score=5.0))(image, THINGS)
    assert not strict.labels.any()


def test_published_settings_are_settings() -> None:
    assert CLIPerSettings(**PUBLISHED["voc"]) == CLIPerSettings()
    for changes in PUBLISHED.values():
        CLIPerSettings(**changes)
    assert len(PUBLISHED["object"]["background"]) == 23


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"stride": 337}, "window must"), ({"short": 0}, "short must"), ({"rounds": 0}, "rounds must"), ({"layer": 0}, "layer count"),
     ({"timestep": 1000}, "timestep must"), ({"least": 1.0}, "least must"), ({"attentions": ()}, "attentions must"),
     ({"candidates": "x"}, "candidates must"), ({"refine": "x"}, "refine must"), ({"background": "sky"}, "background must")],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CLIPerSettings(**settings)


def test_what_the_networks_lack_is_refused(mini: Networks) -> None:
    photo = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(InputError, match=r"layer must be -1 \(the last\) .. -5"):
        CLIPer(mini, CLIPerSettings(layer=-6))(photo, ["dog"])
    with pytest.raises(InputError, match="has 2 self-attention layers"):
        CLIPer(mini, CLIPerSettings(attentions=(2,)))(photo, ["dog"])
