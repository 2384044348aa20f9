"""OVDiff on preset mini with small banks: making words, going on, matching against a plain loop, bad input."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import interpolate

from segwright.errors import InputError, OutputError, WeightsError
from segwright.files import disk
from segwright.images import resize, windows
from segwright.methods.ovdiff.extractors import extract
from segwright.methods.ovdiff.method import OVDiff, OVDiffSettings
from segwright.methods.ovdiff.prototypes import Prototypes, standardised
from segwright.methods.ovdiff.support import SupportSettings, make_words, open_bank, read_word
from segwright.mini.voc import read_scenes
from segwright.models.sampling import SamplingSettings
from segwright.weights import load

SUPPORT = SupportSettings(pictures=5, batch=2, sampling=SamplingSettings(2, 3.0, ""), parts=4)
WORDS = ("pizza", "tv", "apple", "grass")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("banks") / "bank"
    method = OVDiff.load("mini", "cpu", bank=folder, support=SUPPORT, stuff=["grass"])
    method.prepare(WORDS, lambda *_: None)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_interrupted_bank_ends_as_one_that_was_not(bank: Path, tmp_path: Path) -> None:
    networks, folder = load("mini", "cpu"), tmp_path / "bank"

    class StoppedError(Exception):
        pass

    def stop_at(limit: int) -> None:
        calls = iter(range(1000))

        def progress(*_: object) -> None:
            if next(calls) == limit:
                raise StoppedError

        with pytest.raises(StoppedError):
            make_words(networks, open_bank(networks, folder, SUPPORT), WORDS, SUPPORT, ["grass"], progress=progress)

    for limit in (0, 1, 2, 3):
        stop_at(limit)
    half = next((folder / "words").glob("*/pictures/001.png"))
    half.write_bytes(half.read_bytes()[:50])  # as after a power cut
    (half.parent / f"{disk.TEMPORARY}0.tmp").write_bytes(b"left over")
    make_words(networks, open_bank(networks, folder, SUPPORT), WORDS, SUPPORT, ["grass"])
    assert files(folder) == files(bank)


def test_adding_a_word_leaves_the_others_alone(bank: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "bank"
    shutil.copytree(bank, copy)
    before = files(copy)
    OVDiff.load("mini", "cpu", bank=copy).prepare(["pizza", "sofa"], lambda *_: None)
    after = files(copy)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1].split("-")[0] for name in set(after) - set(before)} == {"sofa"}


def test_a_full_disk_leaves_the_bank_readable(bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks, folder = load("mini", "cpu"), tmp_path / "bank"
    opened = open_bank(networks, folder, SUPPORT)
    make_words(networks, opened, ["pizza"], SUPPORT)
    written = iter(range(1000))

    def full(path: Path, content: object) -> None:
        if next(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, content)  # type: ignore[arg-type]

    whole = disk._fill
    monkeypatch.setattr(disk, "_fill", full)
    with pytest.raises(OutputError, match="the disk is full"):
        make_words(networks, opened, ["tv"], SUPPORT)
    monkeypatch.undo()
    assert list(opened.entries()) == ["pizza"]
    assert read_word(opened, "pizza", ("sd", "clip")).foreground["sd"].vectors.ndim == 2
    assert not list(folder.rglob(f"{disk.TEMPORARY}*"))


def test_a_bank_of_networks_that_the_preset_lacks_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'mini' has no dino"):
        OVDiff.load("mini", "cpu", bank=tmp_path / "bank", support=replace(SUPPORT, extractors=("sd", "dino")))
    assert not (tmp_path / "bank").exists()


def test_a_bank_of_other_settings_is_refused(bank: Path) -> None:
    with pytest.raises(InputError, match=r"support\.parts = 4, not 5"):
        OVDiff.load("mini", "cpu", bank=bank, support=replace(SUPPORT, parts=5))
    with pytest.raises(InputError, match="dtype = 'float32', not 'bfloat16'"):
        OVDiff.load("mini", "cpu", "bfloat16", bank=bank)
    with pytest.raises(InputError, match="without extractor 'dino'"):
        OVDiff.load("mini", "cpu", bank=bank, extractors=("dino",))(np.zeros((9, 9, 3), np.uint8), ["tv"])


@pytest.mark.parametrize(("extractors", "filtered"), [(("sd", "clip"), False), (("sd",), True)])
def test_the_result_is_the_nearest_prototype(bank: Path, extractors: tuple[str, ...], filtered: bool) -> None:
    """Sec. 3.4 as loops: windows, cosines, mean over windows and extractors, argmax."""
    image = read_scenes("val", 1).images[0]
    limit = float(np.median(resemblance(bank, "sd"))) if filtered else None
    method = OVDiff.load(
        "mini", "cpu", bank=bank, refine=None, candidates="none", stuff_filter=limit, extractors=extractors, ensemble="mean"
    )
    found = method(image, WORDS)
    size = round(448 / 4)
    photo = resize(image, (size, size))
    places = {*windows(size, size, 112, 56), *windows(size, size, 84, 56), (0, 0, size, size)}
    maps = []
    for name in extractors:
        sets = plain_sets(bank, name, limit)
        total, count = torch.zeros(len(sets), size, size), torch.zeros(size, size)
        for y, x, h, w in places:
            features = extract(name, method.networks, [photo[y : y + h, x : x + w]])[0]
            cosines = torch.stack(
                [torch.stack([torch.cosine_similarity(features, p[:, None, None], 0) for p in s]).amax(0) for s in sets]
            )
            total[:, y : y + h, x : x + w] += interpolate(cosines[None], (h, w), mode="bilinear")[0]
            count[y : y + h, x : x + w] += 1
        maps.append(total / count)
    wide = interpolate(torch.stack(maps).mean(0)[None], image.shape[:2], mode="bilinear")[0]
    assert (found.labels == wide.argmax(0).numpy()).mean() > 0.999


def vectors(bank: Path, name: str, word: str, side: str) -> list[torch.Tensor]:
    return list(load_file(next(bank.glob(f"words/{word}-*/prototypes-{name}.safetensors")))[f"{side}.vectors"])


def resemblance(bank: Path, name: str) -> list[float]:
    """Of each thing's background prototypes to grass."""
    grass = vectors(bank, name, "grass", "foreground")
    background = [p for w in WORDS[:3] for p in vectors(bank, name, w, "background")]
    return [max(float(torch.cosine_similarity(p, g, 0)) for g in grass) for p in background]


def plain_sets(bank: Path, name: str, limit: float | None) -> list[list[torch.Tensor]]:
    """Background of the things, without what resembles grass; then each word's foreground."""
    background = [p for w in WORDS[:3] for p in vectors(bank, name, w, "background")]
    kept = [p for p, r in zip(background, resemblance(bank, name), strict=True) if limit is None or r <= limit]
    assert (len(kept) == len(background)) == (limit is None)
    return [kept, *(vectors(bank, name, w, "foreground") for w in WORDS)]


def test_standardised_extractors_weigh_the_same() -> None:
    torch.manual_seed(0)
    shown = torch.randn(3, 8, 8)
    narrow, wide = standardised([0.01 * shown + 0.9, 0.3 * shown.flip(0) + 0.1])
    assert narrow.std() == pytest.approx(float(wide.std()), rel=1e-4)
    assert narrow.mean() == pytest.approx(float(wide.mean()), rel=1e-3)
    assert torch.equal(narrow.argmax(0), shown.argmax(0))
    assert torch.equal(wide.argmax(0), shown.flip(0).argmax(0))


def test_variants_of_table_3(bank: Path) -> None:
    image = read_scenes("val", 2).images[1]
    base = OVDiff.load("mini", "cpu", bank=bank, refine=None)
    for change in (
        {"background": "threshold"},
        {"background": "none"},
        {"prototypes": "average"},
        {"windows": ()},
        {"stuff_filter": None},
    ):
        result = replace(base, settings=replace(base.settings, **change))(image, WORDS)
        assert result.labels.shape == image.shape[:2]
        if change == {"background": "none"}:
            assert result.labels.min() > 0
    by_caption = replace(base, settings=replace(base.settings, candidates="paper"))(image, WORDS)
    assert set(by_caption.notes["candidates"]) <= set(WORDS)
    low = replace(base, settings=replace(base.settings, background="threshold", threshold=-1.0))(image, WORDS)
    high = replace(base, settings=replace(base.settings, background="threshold", threshold=1.01))(image, WORDS)
    assert low.labels.min() > 0
    assert high.labels.max() == 0
    base = replace(base, settings=replace(base.settings, stuff_filter=None))
    average = base.matching([base.prototypes(w) for w in WORDS], [0, 1])
    assert average.labels == (0, 1, 2)
    assert all(isinstance(p, Prototypes) for s in average.sets["sd"] for p in s)


def test_the_order_of_words_only_renumbers(bank: Path) -> None:
    image = read_scenes("val", 3).images[2]
    method = OVDiff.load("mini", "cpu", bank=bank)
    first, second = method(image, WORDS), method(image, WORDS[::-1])
    for word in WORDS:
        assert np.array_equal(first.mask(word), second.mask(word))
    assert np.array_equal(first.labels, method(image).labels), "without words: all of the bank, in its order"


def test_bad_settings_and_words(bank: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="background must be one of"):
        OVDiffSettings(background="perhaps")
    with pytest.raises(InputError, match="extractors must be of"):
        OVDiffSettings(extractors=("sift",))
    with pytest.raises(InputError, match="proposals must be one of"):
        SupportSettings(proposals="cutler")
    with pytest.raises(InputError, match="support prompt needs"):
        SupportSettings(prompt="a dog")
    with pytest.raises(InputError, match="is empty; give words"):
        OVDiff.load("mini", "cpu", bank=tmp_path / "new", support=SUPPORT)(np.zeros((9, 9, 3), np.uint8))
    networks = load("mini", "cpu")
    with pytest.raises(InputError, match="does not fit into the 32 tokens"):
        make_words(networks, open_bank(networks, bank, SUPPORT), ["dog " * 40], SUPPORT)


def test_any_generator_of_proposals_can_be_handed_in(tmp_path: Path) -> None:
    networks, settings = load("mini", "cpu"), replace(SUPPORT, pictures=2, proposals="maskcut")
    opened = open_bank(networks, tmp_path / "own", settings)
    left = torch.zeros(1, 8, 8, dtype=torch.bool)
    left[0, :, :4] = True
    make_words(networks, opened, ["tv"], settings, proposer=lambda _networks, images: [left for _ in images])
    masks = load_file(opened.path("tv") / "masks.safetensors")
    assert all(set(m.float().mean(0).unique().tolist()) == {0.0, 1.0} for m in masks["foreground"])
    other = open_bank(networks, tmp_path / "maskcut", settings)
    make_words(networks, other, ["tv"], settings)
    assert other.get("tv") is not None
