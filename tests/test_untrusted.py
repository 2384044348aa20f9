"""Attacks through state files of wrong types, seeds, long words; and properties of the door itself."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from segwright.cli import main
from segwright.errors import InputError, SegwrightError, WeightsError
from segwright.evaluation.store import read_report
from segwright.files.journal import decode_lines, encode_line
from segwright.files.seal import seal
from segwright.methods import METHODS, find_method
from segwright.methods.ovdiff.bank import Bank
from segwright.methods.ovdiff.support import STEP, SupportSettings
from segwright.mini.voc import data_folder
from segwright.models.clip import KEY
from segwright.presets import find_preset, shipped_folder
from segwright.refine import G4Seg
from segwright.types import SEEDS
from segwright.untrusted import decode_object, read_bounded, safe_name
from segwright.weights import load

WRONG: tuple[Any, ...] = (None, True, -1, 1e308, "x", [], {}, [[[]]], {"a": []})


def edits(content: Any, rng: random.Random) -> Any:
    """JSON with one value, somewhere, of another type, or one key taken out."""
    content = json.loads(json.dumps(content))
    at = content
    while True:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        if rng.random() < 0.3:
            del at[key]
        else:
            at[key] = rng.choice(WRONG)
        return content


def test_banks_of_wrong_types(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path / "bank", {"support": {"pictures": 2}})
    (bank.path("dog") / "pictures").mkdir(parents=True)
    (bank.path("dog") / "pictures/000.png").write_bytes(b"x")
    bank.finish("dog", "thing")
    rng = random.Random(0)
    for file in (bank.folder / "bank.json", bank.path("dog") / "word.json"):
        whole = file.read_bytes()
        for number in range(60):
            wrong = json.dumps(edits(json.loads(whole), rng)).encode()
            file.write_bytes(wrong if number % 3 else whole[: rng.randrange(len(whole) - 2)])
            try:
                opened = Bank.open(bank.folder)
                opened.entries()
                opened.verify()
            except InputError:
                continue
        file.write_bytes(whole)
    assert list(Bank.open(bank.folder).entries()) == ["dog"]


def test_a_bank_names_no_file_outside(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path / "bank", {})
    bank.path("dog").mkdir(parents=True)
    bank.finish("dog", "thing")
    file = bank.path("dog") / "word.json"
    file.write_bytes(seal(json.loads(file.read_text()) | {"files": {"../../../secret": "0"}}))
    with pytest.raises(InputError, match="no name inside a folder"):
        bank.entries()


def test_reports_of_wrong_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"method": "m", "data": "d", "split": "s", "words": ["a"], "background": True, "protocol": {"name": "p"}}
    report = {
        "measure": "miou", "miou": 0.5, "miou_per_image": 0.5, "pixel_accuracy": 0.5, "intervals": {"miou": [0.4, 0.6]},
        "bootstrap": {"seed": 0}, "photos": 0, "run": run,
    }  # fmt: skip
    file, rng = tmp_path / "report.json", random.Random(0)
    file.write_bytes(seal(report))
    assert read_report(file) == report
    for _ in range(150):
        file.write_bytes(seal(edits(report, rng)))  # by somebody with right checksums
        assert main(["compare", str(tmp_path)]) in (0, 2)
    assert "is damaged" in capsys.readouterr().err


def test_presets_of_wrong_types(tmp_path: Path) -> None:
    for content in (
        '{"preset": ["sd15"], "licence": 1}',
        "[]",
        "{",
        "[" * 100_000,
        '{"preset": "sd15"}',
        '{"preset": "no", "licence": ""}',
    ):
        (tmp_path / "segwright.json").write_text(content)
        with pytest.raises(WeightsError, match="does not say which preset"):
            find_preset(tmp_path)


@pytest.mark.parametrize("network", ["clip", "captioner"])
def test_configurations_of_wrong_types(network: str, tmp_path: Path) -> None:
    """Every file of a network's folder, edited a few times: it opens, or one sentence says why not."""
    rng, source = random.Random(0), shipped_folder("mini") / network
    folder = tmp_path / network
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    for path in sorted(source.glob("*config.json")):
        for _ in range(8):
            (folder / path.name).unlink()
            (folder / path.name).write_text(json.dumps(edits(json.loads(path.read_text("utf8")), rng)))
            with suppress(SegwrightError):
                getattr(load(tmp_path, "cpu"), network)
        (folder / path.name).unlink()
        (folder / path.name).symlink_to(path)


@pytest.mark.parametrize("seed", [2**64, 2**63, -1, 1.5, "1", True])
def test_seeds_that_no_generator_takes(seed: Any) -> None:
    for make in (*(find_method(name).checked for name in METHODS), lambda s: G4Seg(**s), lambda s: SupportSettings(**s)):
        with pytest.raises(InputError, match="seed must be"):
            make({"seed": seed})
    assert find_method("maskclip").checked({"seed": SEEDS}).seed == SEEDS
    with pytest.raises(InputError, match="seed must be"):
        SupportSettings(seed=SEEDS // STEP)


def test_a_seed_beyond_64_bits_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = data_folder() / "JPEGImages/val_00003.jpg"
    assert main(["segment", str(photo), "--preset", "mini", "--words", "dog", "--seed", str(2**65), "-o", str(tmp_path / "r")]) == 2
    assert "a seed must be" in capsys.readouterr().err


def test_a_prompt_as_long_as_a_caption_is_the_caption() -> None:
    from segwright import read

    captioner = load("mini", "cpu").captioner
    prompt = "a photograph of a " + " ".join(["dog"] * 25)
    assert captioner.caption([read(data_folder() / "JPEGImages/val_00003.jpg")], prompt) == [prompt]


def test_words_without_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = load("mini", "cpu").clip
    monkeypatch.setattr("segwright.models.clip.MEMORY", 5 * (KEY + 4 * clip.model.config.projection_dim))
    first = clip.embed_texts(["dog", "sofa"])
    many = clip.embed_texts([f"word {i}" for i in range(9)])
    assert many.shape[0] == 9
    assert len(clip._texts) == 5
    assert torch.equal(clip.embed_texts(["dog", "sofa"]), first)


def test_nothing_endless_or_special_is_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(bytes(11))
    assert read_bounded(tmp_path / "long", 11) == bytes(11)
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_bounded(tmp_path / "long", 10)
    with pytest.raises(InputError, match="device or pipe"):
        read_bounded(tmp_path)
    for name in ("..", "a/../..", "/a", "", "a\0", "."):
        with pytest.raises(ValueError, match="no name"):
            safe_name(name)
    assert safe_name("a/..b/c d.png") == "a/..b/c d.png"


def test_lines_are_read_back_or_refused() -> None:
    content = {"file": '\u2028 \x85 ä \\ " \x00 😀', "n": 0.1}
    line = encode_line(content)
    assert [
        {k: v for k, v in found.items() if k not in ("after", "check")} for found in decode_lines(line, decode_object, "f")
    ] == [content]
    rng = random.Random(0)
    for _ in range(500):
        changed = bytearray(line)
        place = rng.randrange(len(line) - 1)
        changed[place] ^= 1 << rng.randrange(8)
        if b"\n" in changed[:-1]:
            continue
        with pytest.raises(InputError, match="line 1 of 'f' is damaged"):
            list(decode_lines(bytes(changed), decode_object, "f"))
