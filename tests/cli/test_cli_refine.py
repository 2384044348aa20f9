"""``segwright refine`` and the page of a mask, as a user runs them, in this process, with preset mini on shipped scenes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import segwright as sw
from segwright.cli import main
from segwright.cli.listed import CRF_NAMES
from segwright.cli.refine import _changed
from segwright.errors import InputError
from segwright.files.coarse_masks import hard_scores, parse_words_map, read_coarse, soft_scores
from segwright.files.masks import read_label_map, voc_palette, write_label_map
from segwright.mini.scenes import THINGS
from segwright.mini.voc import data_folder
from segwright.refine import CRF, CRF_CONSTANTS, crf
from segwright.runs.refine_masks import LINES, REFINERS, RUN_FILE, RefinementSettings
from segwright.weights import load

SHIPPED = data_folder()
SAMPLE = SHIPPED / "JPEGImages/val_00000.jpg"


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def coarse(name: str, height: int = 128, width: int = 128) -> np.ndarray:
    """The true mask in cells of 8 pixels."""
    labels = read_label_map(SHIPPED / f"SegmentationClass/{name}.png")
    return labels[4::8, 4::8].repeat(8, 0).repeat(8, 1)[:height, :width]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three photos with masks of three kinds: PNG, scores as .npy, scores as .safetensors."""
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    for i in range(3):
        name = f"val_0000{i}"
        (photos / f"{name}.jpg").write_bytes((SHIPPED / f"JPEGImages/{name}.jpg").read_bytes())
        labels = coarse(name)
        scores = (labels == np.arange(25)[:, None, None]).astype(np.float32) * 0.7 + 0.3 / 25
        if i == 0:
            write_label_map(masks / f"{name}.png", labels)
        elif i == 1:
            np.save(masks / f"{name}.npy", scores[:, ::2, ::2])
        else:
            save_file({"scores": torch.from_numpy(scores), "other": torch.zeros(1)}, masks / f"{name}.safetensors")
    return photos, masks


def test_two_folders_resumed(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, masks = folders
    out = tmp_path / "out"
    command = ("refine", photos, "--mask", masks, "--vocabulary", "mini", "--preset", "mini", "--with", "crf", "-o", out)
    assert run(*command) == 0
    assert sorted(p.name for p in out.iterdir()) == [RUN_FILE, LINES, "val_00000.png", "val_00001.png", "val_00002.png"]
    for i in range(3):
        made, given = read_label_map(out / f"val_0000{i}.png"), coarse(f"val_0000{i}")
        assert set(np.unique(made)) <= set(np.unique(given)), "the same indices as came in"
        assert (made != given).any()
    with Image.open(out / "val_00000.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:30] == voc_palette().flatten()[:30].tolist()
    told = json.loads((out / RUN_FILE).read_text("utf8"))
    assert told["refine"] == [CRF.of("cutler").identity()]
    assert "networks" not in told, "a CRF runs on none"
    before = {p: p.stat().st_mtime_ns for p in out.glob("*.png")}
    said = capsys.readouterr().out
    for i in range(3):
        share = (read_label_map(out / f"val_0000{i}.png") != coarse(f"val_0000{i}")).mean()
        assert f"val_0000{i}.png ({100 * share:.0f} % of pixels changed)" in said
    assert run(*command) == 0
    assert capsys.readouterr().out.count("was there already") == 3
    assert {p: p.stat().st_mtime_ns for p in out.glob("*.png")} == before
    write_label_map(masks / "val_00000.png", coarse("val_00000") * 0)
    (out / "val_00001.png").unlink()
    assert run(*command) == 0
    assert capsys.readouterr().out.count("was there already") == 1, "another mask and a lost result are made again"
    assert run(*command[:-4], "--with", "pamr", "-o", out) == 2
    assert 'holds a run with refine.0.name = "crf", this one has "pamr"' in capsys.readouterr().err


def test_how_much_changed_is_told() -> None:
    assert [_changed(share) for share in (0, 0.001, 0.01, 0.09, 1)] == [
        "no pixel changed", "less than 1 % of pixels changed", "1 % of pixels changed", "9 % of pixels changed",
        "100 % of pixels changed",
    ]  # fmt: skip


def test_one_photo_with_g4seg_is_what_python_makes(tmp_path: Path) -> None:
    labels = coarse("val_00000")
    write_label_map(tmp_path / "coarse.png", labels)
    words = ",".join(f"{i}={THINGS[i - 1]}" for i in np.unique(labels) if i)
    arguments = ("refine", SAMPLE, "--mask", tmp_path / "coarse.png", "--words-map", words, "--preset", "mini", "--beta", 0.5)
    assert run(*arguments, "-o", tmp_path / "out") == 0
    written = read_label_map(tmp_path / "out/val_00000.png")
    settings = replace(REFINERS["g4seg"], beta=0.5)
    scores = read_coarse(tmp_path / "coarse.png", (128, 128), parse_words_map(words))
    image = sw.read(SAMPLE)
    moved = sw.refine.g4seg(image, scores, model=load("mini", "cpu"), settings=settings)
    assert not torch.equal(moved.values, scores.values)
    assert np.array_equal(written, crf(image, moved, settings="cutler").argmax().numpy())
    twin = sw.refine_masks(
        SAMPLE, tmp_path / "coarse.png", tmp_path / "twin", parse_words_map(words), load("mini", "cpu"),
        settings=RefinementSettings((settings, "crf")),
    )  # fmt: skip
    assert np.array_equal(next(twin).segmentation.labels, written)


def test_bad_files_are_told_and_passed_over(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, masks = folders
    (photos / "a.jpg").write_bytes(SAMPLE.read_bytes()[:500])
    write_label_map(masks / "a.png", coarse("val_00000"))
    (photos / "b.jpg").write_bytes(SAMPLE.read_bytes())
    (photos / "c.jpg").write_bytes(SAMPLE.read_bytes())
    write_label_map(masks / "c.png", coarse("val_00000", 100))
    (photos / "d.jpg").write_bytes(SAMPLE.read_bytes())
    np.save(masks / "d.npy", np.array([{"a": 1}]), allow_pickle=True)
    (photos / "e.jpg").write_bytes(SAMPLE.read_bytes())
    (masks / "e.safetensors").write_bytes(b"no tensors")
    assert (
        run("refine", photos, "--mask", masks, "--vocabulary", "mini", "--preset", "mini", "--with", "pamr", "-o", tmp_path / "o")
        == 1
    )
    printed = capsys.readouterr()
    for name in ("a.jpg", "b.jpg", "c.png", "d.npy", "e.safetensors", "5 of 8"):
        assert name in printed.err
    assert "Traceback" not in printed.err
    assert len(list((tmp_path / "o").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mask", "missing.png", "--words-map", "1=dog"), "missing.png"),
        (("--mask", "coarse.png"), "1=dog,2=sofa"),
        (("--mask", "coarse.png", "--words-map", "dog"), "'dog'"),
        (("--mask", "coarse.png", "--words-map", "1=dog,1=cat"), "two words"),
        (("--mask", "coarse.png", "--words-map", "1=dog"), "has no word"),
        (("--mask", "coarse.png", "--words-map", "1=dog", "--with", "magic"), "magic"),
        (("--mask", "coarse.png", "--words-map", "1=dog", "--beta", "3"), "beta"),
        (("--mask", "coarse.png", "--words-map", "1=dog", "--controlnet", "nowhere"), "nowhere"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(
    arguments: tuple, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_label_map(tmp_path / "coarse.png", coarse("val_00000").clip(0, 1) * 7)
    assert run("refine", SAMPLE, *arguments, "--preset", "mini", "-o", "out") == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_results_never_replace_the_masks(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    photos, masks = folders
    before = (masks / "val_00000.png").read_bytes()
    assert run("refine", photos, "--mask", masks, "--with", "crf", "--preset", "mini", "-o", masks) == 2
    assert (
        run("refine", photos / "val_00000.jpg", "--mask", masks / "val_00000.png", "--with", "crf", "--preset", "mini", "-o", masks)
        == 2
    )
    assert capsys.readouterr().err.count("would replace") == 2
    assert (masks / "val_00000.png").read_bytes() == before


def test_page_of_a_mask(tmp_path: Path) -> None:
    write_label_map(tmp_path / "coarse.png", coarse("val_00000"))
    command = ("explain", SAMPLE, "--mask", tmp_path / "coarse.png", "--vocabulary", "mini", "--preset", "mini", "--with", "g4seg")
    assert run(*command, "-o", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text("utf8")
    assert page.count("data:image/png;base64,") >= 8
    assert "http" not in page
    for text in (
        "coarse mask",
        "reconstruction without injection",
        "with injection",
        "matches",
        "what moved",
        "Refined mask",
        "rose",
    ):
        assert text in page
    assert run("explain", SAMPLE, "--words-map", "1=dog", "--preset", "mini", "-o", tmp_path) == 2


def test_hard_masks_become_probabilities() -> None:
    labels = np.zeros((100, 100), np.int64)
    labels[:, 50:] = 3
    labels[:30, :30] = 255
    scores = hard_scores(labels, {3: "sofa"}, trust=0.9)
    assert scores.labels == (0, 3)
    assert scores.words[2] == "sofa"
    assert torch.allclose(scores.values.sum(0), torch.ones(100, 100), atol=1e-5)
    assert torch.allclose(scores.values[1, 50, [20, 80]], torch.tensor([0.05, 0.95]), atol=1e-4)
    assert torch.allclose(scores.values[:, 5, 5], torch.full((2,), 0.5)), "void is every class alike"
    kept = np.where(labels == 255, 0, labels)
    assert np.array_equal(hard_scores(kept, {3: "sofa"}).argmax().numpy(), kept)


def test_the_command_offers_every_crf() -> None:
    assert set(CRF_NAMES) == set(CRF_CONSTANTS)
    with pytest.raises(InputError, match="cutler"):
        CRF.of("sharp")


def test_scores_keep_their_classes() -> None:
    array = np.zeros((6, 4, 4))
    array[0], array[5] = 1, 3
    scores = soft_scores(array, (8, 8), {5: "dog"})
    assert scores.labels == (0, 5)
    assert torch.allclose(scores.values[1], torch.full((8, 8), 0.75))
    with pytest.raises(InputError, match="from 0 up"):
        soft_scores(array - 1, (4, 4))
    with pytest.raises(InputError, match="every pixel"):
        soft_scores(array * 0, (4, 4))
    with pytest.raises(InputError, match="classes, H, W"):
        soft_scores(array[0], (4, 4))


def test_names_that_are_not_utf8_and_files_that_were_replaced(folders: tuple[Path, Path], tmp_path: Path) -> None:
    photos, masks = folders
    odd = b"caf\xe9"
    os.rename(photos / "val_00000.jpg", os.path.join(os.fsencode(photos), odd + b".jpg"))
    os.rename(masks / "val_00000.png", os.path.join(os.fsencode(masks), odd + b".png"))
    out = tmp_path / "out"

    def refined() -> list[bool]:
        """Whether each was made just now."""
        settings = RefinementSettings((CRF(iterations=1),))
        found = list(sw.refine_masks(photos, masks, out, settings=settings, networks=load("mini", "cpu")))
        assert all(one.error is None for one in found), found
        return [one.segmentation is not None for one in found]

    assert refined() == [True, True, True]
    assert (out / "caf\\udce9.png").is_file()
    assert refined() == [False, False, False]
    first, second = sorted(out.glob("val*.png"))
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert sum(refined()) == 1, "a result that was edited"
    assert first.read_bytes() == whole
    mask = masks / "val_00001.npy"
    times, content = mask.stat(), bytearray(mask.read_bytes())
    content[-4:] = np.float32(0.5).tobytes()
    mask.write_bytes(content)
    os.utime(mask, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sum(refined()) == 1, "another mask of the same size and time"
