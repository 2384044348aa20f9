"""best: its contract, each part against an independent reference, what it says of words, hostile words."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from contracts import check_method
from PIL import Image as Pillow

from segwright.cli import main
from segwright.errors import InputError
from segwright.methods import load_method
from segwright.methods.best import dense
from segwright.methods.best.field import Field
from segwright.methods.best.method import PARTS, Best, _without
from segwright.methods.best.presence import crops, in_caption
from segwright.mini.scenes import draw
from segwright.models.clip_dense import dense_features, pixels
from segwright.models.heads import Heads
from segwright.presets import MINI_NOUNS
from segwright.types import Scores
from segwright.words.competitors import common_nouns, others, used_part
from segwright.words.vocabulary import load

SCENE = draw("train", 3, 0)
THERE = tuple(sorted({thing.word for thing in SCENE.things}))


@pytest.fixture(scope="module")
def method() -> Any:
    return load_method("best", "mini", "cpu")


class Axes:
    """CLIP in which every text is an axis of its own, but those of one letter's beginning lie near each other."""

    logit_scale = 10.0

    def embed_texts(self, words: Any, templates: Any = ("{}",)) -> torch.Tensor:
        rows = torch.zeros(len(words), 60)
        for row, word in zip(rows, words, strict=True):
            row[ord(word[0].lower()) - 97] = 1.0
            row[26 + sum(map(ord, word)) % 30] += 0.3
        return torch.nn.functional.normalize(rows, dim=1)


def test_contract(method: Any) -> None:
    photos = [SCENE.image, np.ascontiguousarray(draw("train", 3, 1).image[:90])]
    check_method(method.many, photos, ["dog", "car", *THERE])


def test_a_word_competes_by_its_best_name_against_a_slow_twin() -> None:
    field, clip = Field((("sofa", "couch"), ("dog",)), ("tree", "sky")), Axes()
    seen = torch.nn.functional.normalize(torch.rand(3, 60, generator=torch.Generator().manual_seed(0)), dim=1)
    got = field.probabilities(clip, seen, ("{}",))
    for k in range(3):
        cosine = {t: float(seen[k] @ clip.embed_texts([t])[0]) for t in ("sofa", "couch", "dog", "tree", "sky")}
        logits = [10 * v for v in (max(cosine["sofa"], cosine["couch"]), cosine["dog"], cosine["tree"], cosine["sky"])]
        raised = np.exp(logits)
        assert got[k].tolist() == pytest.approx((raised / raised.sum()).tolist(), abs=1e-6)
    assert field.titles == ("sofa", "dog", "tree", "sky")


def test_a_keyword_that_is_nearer_to_another_noun_makes_no_word_present() -> None:
    field = Field((("sofa", "couch"), ("dog",)), ("deer", "tree"))
    assert in_caption(Axes(), field, ["couches"]) == ((0.9, 0.5), ("couches", ""))
    assert in_caption(Axes(), field, ["deer"]) == ((0.5, 0.5), ("", ""))
    near = Field((("dog",),), ("tree",))
    assert in_caption(Axes(), near, ["dachshund"]) == ((0.7,), ("dachshund",))
    assert in_caption(Axes(), near, ["dachshund", "dogs"]) == ((0.9,), ("dogs",))


def test_fusion_and_carrying_against_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    named, cells = (torch.rand(4, 4, 4, generator=generator).softmax(0) for _ in range(2))
    cross = torch.rand(2, 4, 4, generator=generator)
    fused = dense.fuse(named, cells, 0.4, cross, 0.3)
    for y in range(4):
        for x in range(4):
            row = [0.6 * float(named[i, y, x]) + 0.4 * float(cells[i, y, x]) for i in range(4)]
            total, held = float(cross[:, y, x].sum()), row[0] + row[1]
            mixed = [0.7 * row[i] + 0.3 * held * float(cross[i, y, x]) / total for i in range(2)] + row[2:]
            assert fused[:, y, x].tolist() == pytest.approx([v / sum(mixed) for v in mixed], abs=1e-5)
    assert torch.equal(dense.fuse(named, None, 0.4, None, 0.3), named)
    own = Heads()
    own._query, own._key, own._scale = torch.rand(1, 16, 2, 3), torch.rand(1, 16, 2, 3), 0.5
    matrix = torch.stack([(0.5 * own._query[0, :, h] @ own._key[0, :, h].T).softmax(1) for h in range(2)]).mean(0)
    expected = (matrix @ (matrix @ fused.flatten(1).T)).T.view(4, 4, 4)
    assert torch.allclose(dense.carry(fused, own, 2), expected, atol=1e-6)
    assert torch.allclose(dense.carry(fused, own, 0), fused)


def test_a_named_word_is_likelier_and_evidence_sharper_against_a_loop() -> None:
    fused = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(1)).softmax(0)
    got = dense.favour(fused, 2, 3.0, 1.5)
    for y in range(3):
        for x in range(3):
            row = [float(fused[i, y, x]) ** 1.5 * (3 if i < 2 else 1) for i in range(4)]
            assert got[:, y, x].tolist() == pytest.approx([v / sum(row) for v in row], abs=1e-6)
    assert torch.allclose(dense.favour(fused, 2, 1.0, 1.0), fused)


def test_without_words_what_clip_sees_is_asked_for_beside_the_captions_nouns(method: Any) -> None:
    asked = [set(Best.on(method.networks, seen=s, confidence=0.0)(SCENE.image).words) for s in (0.0, 0.5, 1.0)]
    assert set(MINI_NOUNS) <= asked[0] | {"something", "pattern"}
    assert asked[2] <= asked[1] <= asked[0]


def test_features_are_the_self_attention_of_the_one_pass(method: Any) -> None:
    """Against the recorder of FreeSeg-Diff's features, which keeps probabilities and not queries and keys."""
    networks = method.networks
    passed = dense.one_pass(networks, SCENE.image, ("dog", "car"), 100, 0)
    diffusion, settings = (
        networks.diffusion,
        replace(networks.preset.features, kind="attention", layers=("down", "mid", "up"), early_stop=False),
    )
    latents = diffusion.noise(diffusion.encode(diffusion.pixels([SCENE.image])), 100, 0)
    maps = diffusion.maps(latents, diffusion.embed([passed.prompt]), replace(settings, timestep=100))
    expected = torch.cat([m[0] for _, m in sorted(maps.items(), key=lambda pair: pair[0].order)])
    torch.testing.assert_close(passed.features, expected, atol=1e-5, rtol=1e-4)


def test_cells_are_named_by_their_best_name_against_a_loop(method: Any) -> None:
    networks, field = method.networks, Field((("sofa", "couch"), ("dog",)), ("grass",))
    clip = networks.clip
    side = clip.pixels.side
    photo = np.asarray(Pillow.fromarray(SCENE.image).resize((side, side)))
    got = dense.name_cells(networks, photo, field, ("{}",), side)
    features = dense_features(clip, pixels(clip, photo), "correlative", networks.preset.defaults.residual).features
    wide = torch.einsum("dhw,td->thw", features[0], clip.embed_texts(["sofa", "couch", "dog", "grass"], ("{}",)))
    wide = torch.nn.functional.interpolate(wide[None], (side, side), mode="bilinear", align_corners=False)[0]
    for y, x in ((0, 0), (side // 2, side // 3), (side - 1, side - 2)):
        cosines = (clip.logit_scale * wide[:, y, x]).tolist()
        raised = np.exp(np.array([max(cosines[:2]), *cosines[2:]]) - max(cosines))
        assert got[:, y, x].tolist() == pytest.approx((raised / raised.sum()).tolist(), abs=1e-4)


def test_what_does_not_hold_becomes_unlabelled() -> None:
    values = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(2))
    scores = Scores(("a", "b", "c"), (0, 1, 2, 3), values / values.sum(0))
    kept = _without(scores, [1, 3])
    before, after = scores.argmax(), kept.argmax()
    assert kept.labels == (0, 1, 3)
    assert torch.equal(after, torch.where(before == 2, 0, before))
    assert _without(scores, []).labels == (0,)


def test_one_pass_of_the_unet_a_photo(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    diffusion, calls = method.networks.diffusion, []
    predict = diffusion.predict
    monkeypatch.setattr(diffusion, "predict", lambda *a, **k: calls.append(1) or predict(*a, **k))
    Best.on(method.networks, confidence=0.0, floor=0.0)(SCENE.image, MINI_NOUNS)
    assert len(calls) == 1


def test_every_word_has_its_reason(method: Any) -> None:
    result = method(SCENE.image, ["the zebra on the left", *(f"{word}; thing {i}" for i, word in enumerate(THERE))])
    beliefs = result.notes["beliefs"]
    assert [b["word"] for b in beliefs] == ["the zebra on the left", *THERE]
    assert beliefs[0]["used"] == ("zebra",)
    assert all(b["present"] == (b["word"] in result.found) for b in beliefs)
    assert all(bool(b["why"]) != b["present"] for b in beliefs)
    assert dict(result.confidence) == {b["word"]: b["score"] for b in beliefs}
    for b in beliefs:  # the pooled odds are the geometric mean of the odds
        odds = [min(max(p, 1e-3), 1 - 1e-3) / (1 - min(max(p, 1e-3), 1 - 1e-3)) for p in b["evidence"].values()]
        assert b["score"] / (1 - b["score"]) == pytest.approx(math.prod(odds) ** (1 / len(odds)))
    assert len(result.notes["not_found"]) == sum(not b["present"] for b in beliefs)


def test_confidence_moves_between_finding_and_being_sure(method: Any) -> None:
    found = [set(Best.on(method.networks, confidence=c)(SCENE.image, MINI_NOUNS).found) for c in (0.0, 0.2, 1.0)]
    assert len(found[0]) >= len(found[1]) >= len(found[2]) == 0
    assert found[0]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out(method: Any, part: str) -> None:
    left = Best.on(method.networks, parts=tuple(p for p in PARTS if p != part), confidence=0.05)
    result = left(SCENE.image, THERE)
    evidence = set().union(*(b["evidence"] for b in result.notes["beliefs"]))
    gone = {"presence": {"caption", "photo"}, "check": {"region"}}.get(part, set())
    assert not evidence & gone
    competed = result.notes["competed"]
    assert (len(competed) == len(THERE)) == (part == "competition") or not competed


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"odds": 0}, "odds and sharpness must be above 0"),
        ({"confidence": 2}, "confidence must lie in 0..1"),
        ({"parts": ("x",)}, "parts must be of"),
        ({"clusters": 0}, "1 or"),
    ],
)
def test_bad_settings(given: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        load_method("best", "mini", "cpu", **given)


def test_many_and_strange_words(method: Any) -> None:
    image = SCENE.image[:64, :80]
    assert method(image, [f"word {i}" for i in range(200)]).labels.shape == (64, 80)
    assert method(image, ["?!", "x" * 200, "dog; hound; cur"]).words == ("?!", "x" * 200, "dog")
    for bad, what in (([], "got none"), (["x" * 500], "at most 200"), (["Apple", "APPLE"], "each word once")):
        with pytest.raises(InputError, match=what):
            method(image, bad)


def test_phrases_and_competitors() -> None:
    asked = ("the red apple", "person on the left", "A dog in the background", "on top", "left", "front of the train")
    assert [used_part(a) for a in asked] == ["red apple", "person", "dog", "on top", "left", "front of the train"]
    assert others(["Dogs", "cat", "cats", "sofa"], ["dog"]) == ("cat", "sofa")
    assert len(common_nouns()) > 300
    assert set(load("mini").words) == set(MINI_NOUNS) <= set(common_nouns())


def test_crops_cover_the_photo() -> None:
    image = np.arange(7 * 10 * 3, dtype=np.uint8).reshape(7, 10, 3)
    seen = crops(image)
    assert len(seen) == 10
    assert {tuple(c.shape) for c in seen[1:]} == {(4, 5, 3)}
    assert set(np.concatenate([c.reshape(-1, 3) for c in seen[1:]])[:, 0]) == set(image.reshape(-1, 3)[:, 0])
    assert len(crops(image[:1, :1])) == 1


def test_page_and_command_line(method: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = method.explain(SCENE.image, ["dog", *THERE], "p")
    text = shown.body if hasattr(shown, "body") else str(SimpleNamespace(page=shown))
    assert "Which words are there" in text
    photo = Path(__file__).parents[2] / "src/segwright/mini/data/JPEGImages/val_00000.jpg"
    command = ["segment", str(photo), "--preset", "mini", "--device", "cpu", "--words", "zebra crossing; crosswalk"]
    assert main([*command, "--method", "best", "--confidence", "0.9", "-o", str(tmp_path / "a")]) == 0
    output = capsys.readouterr()
    assert "not found: zebra crossing (best evidence 0." in output.out
    assert "absent" not in output.err
    assert "the preset's networks were not taught zebra crossing; they can only guess" in output.err
    assert main([*command, "--method", "freeseg-diff", "-o", str(tmp_path / "b")]) == 0
    assert "words that are absent, as freeseg-diff has it: every region takes the nearest word" in capsys.readouterr().err
