"""SCLIP against a slow twin of its published steps, and on shipped scenes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from segwright.errors import InputError
from segwright.methods.sclip import SCLIP, SCLIPSettings, demote
from segwright.methods.segmenter import by_word, sliding
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.clip_dense import dense_features, pixels
from segwright.weights import Networks, load
from segwright.words.presence import Chosen
from segwright.words.vocabulary import check_words


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder = tmp_path_factory.mktemp("preset")
    tiny.clip(folder / "clip")
    networks = load(folder, "cpu")
    generator = torch.Generator().manual_seed(1)
    for p in networks.clip.model.parameters():
        p.add_(0.25 * torch.randn(p.shape, generator=generator))
    networks.clip.model.logit_scale.fill_(2.0)
    return networks


def test_scores_are_the_published_steps(networks: Networks) -> None:
    """One square window; every step with NumPy, pixel by pixel."""
    clip = networks.clip
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    settings = SCLIPSettings(short=224, templates=("a {}",), background=("sky", "sea"), threshold=0.2, area=0.2)
    chosen = Chosen(None, (), ("dog", "cat", "boat"), (0, 2))
    found = SCLIP(networks, settings).scores(photo, chosen)
    cells = dense_features(clip, pixels(clip, photo), "correlative").features[0]
    texts = clip.embed_texts(["a dog", "a boat", "a sky", "a sea"])
    cosines = torch.nn.functional.interpolate(
        torch.stack([sum(cells[d] * float(t[d]) for d in range(16)) for t in texts])[None], (32, 32), mode="bilinear"
    )[0].numpy()
    logits = 0.65 * clip.logit_scale * cosines
    probabilities = np.exp(logits) / np.exp(logits).sum(0)
    values = np.stack([np.maximum(probabilities[2], probabilities[3]), probabilities[0], probabilities[1]])
    won = [(values.argmax(0) == k).sum() for k in range(3)]
    for k in (1, 2):
        if won[k] <= 0.2 * (won[1] + won[2]):
            values[k] = 0
    labels = np.array([0, 1, 3])[np.where(values.max(0) < 0.2, 0, values.argmax(0))]
    assert np.array_equal(found.argmax().numpy(), labels)
    row = found.labels.index(labels.max())
    shares = values / values.sum(0)
    kept = shares[[[0, 1, 3].index(label) for label in found.labels]]
    assert float(found.values[row, 5, 7]) == pytest.approx(kept[row, 5, 7] / kept[:, 5, 7].sum(), abs=1e-4)
    assert {1, 3} & set(found.labels)


def test_small_and_unsure_classes_become_background() -> None:
    probabilities = torch.full((3, 4, 5), 0.05)
    probabilities[1, :3] = 0.6
    probabilities[2, 3, 0] = 0.7
    probabilities[0, 3, 1] = 0.4
    kept = demote(probabilities, threshold=0.1, area=0.1)
    assert kept.argmax(0).tolist() == [[1] * 5] * 3 + [[0] * 5]  # 1 of 16 cells of foreground is not above a tenth
    assert kept[0, 3].tolist() == pytest.approx([1, 0.4, 1, 1, 1])
    assert demote(probabilities, 0.0, 0.0).argmax(0)[3, 0] == 2


def test_on_a_scene_with_and_without_its_labels() -> None:
    mini, scene = load("mini", "cpu"), read_scenes("val", 1)
    for words in (THINGS, tuple(scene.notes[0]["things"])):
        result = SCLIP(mini)(scene.images[0], words)
        assert result.labels.shape == scene.images[0].shape[:2]
        assert result.notes["candidates"] == list(words)
    refined = SCLIP(mini, SCLIPSettings(refine="crf"))(scene.images[0], scene.notes[0]["things"])
    assert refined.notes["settings"]["refine"] == "crf"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"stride": 300}, "stride must"), ({"short": 0}, "short must"), ({"candidates": "x"}, "candidates must"),
     ({"refine": "x"}, "refine must")],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SCLIPSettings(**settings)


def test_a_class_of_several_names_takes_the_strongest_before_its_area_is_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Against a slow twin: softmax over all names, each class its strongest name, then area and threshold of classes."""
    folder = tmp_path_factory.mktemp("preset")
    tiny.clip(folder / "clip")
    networks = load(folder, "cpu")
    clip = networks.clip
    generator = torch.Generator().manual_seed(3)
    for p in clip.model.parameters():
        p.add_(0.25 * torch.randn(p.shape, generator=generator))
    photo = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    settings = SCLIPSettings(templates=("a {}",), background=("sky", "wall"), scale=0.3, threshold=0.2, area=0.2)
    method = SCLIP(networks, settings)
    words = check_words(["person; man; woman", "dog"])
    found = method(photo, words)
    names, owner = ("person", "man", "woman", "dog", "sky", "wall"), (1, 1, 1, 2, 0, 0)
    texts = clip.embed_texts(names, ("a {}",))

    def logits_of(windows: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bdhw,td->bthw", dense_features(clip, windows, "correlative", True).features, texts)

    cosines = sliding(clip, photo, settings.short, settings.window, settings.stride, logits_of=logits_of)
    probabilities = (0.3 * clip.logit_scale * cosines).softmax(0)
    classes = torch.stack([torch.stack([p for p, o in zip(probabilities, owner, strict=True) if o == c]).amax(0) for c in range(3)])
    torch.testing.assert_close(by_word(probabilities, torch.tensor([0, 0, 0, 1]), 2)[:2], classes[1:], rtol=0, atol=0)
    wanted = demote(classes, 0.2, 0.2)
    assert found.words == ("person", "dog")
    assert set(found.scores.labels) == {0, *wanted.argmax(0).unique().tolist()}  # type: ignore[union-attr]
