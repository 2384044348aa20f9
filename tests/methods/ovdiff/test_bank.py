"""The bank on disk: what it refuses, what it keeps apart, what it notices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segwright.errors import InputError
from segwright.methods.ovdiff.bank import Bank, read_tensors, write_tensors

SETTINGS = {"preset": "mini", "support": {"steps": 30, "extractors": ("sd", "clip")}}


def fill(bank: Bank, word: str, kind: str = "thing") -> None:
    write_tensors(bank.path(word) / "prototypes-sd.safetensors", {"v": torch.arange(4.0)})
    bank.finish(word, kind)


def test_words_come_back_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path / "bank", SETTINGS)
    for word in ("sofa", "dog", "a/b\\..", "ångström", "犬"):
        fill(bank, word)
    again = Bank.make(tmp_path / "bank", SETTINGS)
    assert list(again.entries()) == ["sofa", "dog", "a/b\\..", "ångström", "犬"]
    entry = again.get("DOG")
    assert entry is not None
    assert torch.equal(again.tensors(entry, "prototypes-sd.safetensors")["v"], torch.arange(4.0))
    assert all(p.parent == tmp_path / "bank" / "words" for p in (e.folder for e in again.entries().values()))
    assert again.verify() == []


def test_words_that_read_alike_have_folders_of_their_own(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path, SETTINGS)
    assert len({bank.path(w) for w in ("hot dog", "hot-dog", "hot_dog", "犬", "猫")}) == 5
    assert bank.path("Hot Dog") == bank.path("hot dog")


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    fill(Bank.make(tmp_path, SETTINGS), "dog")
    with pytest.raises(InputError, match=r"support\.steps = 30, not 20; give the same setting, or another folder"):
        Bank.make(tmp_path, {"preset": "mini", "support": {"steps": 20, "extractors": ("sd", "clip")}})
    with pytest.raises(InputError, match="preset = 'mini', not 'sd15'"):
        Bank.make(tmp_path, SETTINGS | {"preset": "sd15"})


def test_a_bank_without_a_word_binds_nobody(tmp_path: Path) -> None:
    Bank.make(tmp_path, SETTINGS | {"preset": "sd15"})
    bank = Bank.make(tmp_path, SETTINGS)
    assert Bank.open(tmp_path).settings["preset"] == "mini"
    write_tensors(bank.path("dog") / "masks.safetensors", {"v": torch.zeros(1)})
    with pytest.raises(InputError, match="was made with preset = 'mini', not 'sd15'"):
        Bank.make(tmp_path, SETTINGS | {"preset": "sd15"})


def test_what_is_no_bank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no bank"):
        Bank.open(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no bank and not empty"):
        Bank.make(tmp_path, SETTINGS)
    (tmp_path / "bank.json").write_text('{"format": 1, "sett')
    with pytest.raises(InputError, match="cut short or was edited"):
        Bank.open(tmp_path)


@pytest.mark.parametrize("harm", ["cut", "edit", "lose"])
def test_damage_is_noticed_and_the_other_words_stay_readable(tmp_path: Path, harm: str) -> None:
    bank = Bank.make(tmp_path, SETTINGS)
    fill(bank, "dog")
    fill(bank, "sofa")
    path = bank.path("dog") / "prototypes-sd.safetensors"
    content = path.read_bytes()
    if harm == "lose":
        path.unlink()
    else:
        path.write_bytes(content[:-3] if harm == "cut" else content[:-1] + b"\x01")
    entry = bank.get("dog")
    assert entry is not None
    with pytest.raises(InputError, match="cannot be read" if harm == "lose" else "cut short or was edited"):
        bank.tensors(entry, path.name)
    (wrong,) = bank.verify()
    assert "prototypes-sd.safetensors is missing, cut short or was edited" in wrong
    other = bank.get("sofa")
    assert other is not None
    assert bank.tensors(other, path.name)


def test_an_unfinished_word_is_told_of_and_can_be_removed(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path, SETTINGS)
    write_tensors(bank.path("dog") / "masks.safetensors", {"v": torch.zeros(1)})
    assert bank.get("dog") is None
    assert "unfinished" in bank.verify()[0]
    bank.remove("dog")
    assert bank.verify() == []
    with pytest.raises(InputError, match="has no word 'dog'"):
        bank.remove("dog")


def test_a_damaged_word_file_is_one_sentence(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path, SETTINGS)
    fill(bank, "dog")
    (bank.path("dog") / "word.json").write_text("[]")
    with pytest.raises(InputError, match="Expected `object`"):
        bank.get("dog")
    (bank.path("dog") / "word.json").write_text('{"word": "cat", "kind": "thing", "number": 1, "files": {}}')
    with pytest.raises(InputError, match="describes no word of this bank"):
        bank.entries()


def test_kinds_and_halves(tmp_path: Path) -> None:
    bank = Bank.make(tmp_path, SETTINGS)
    fill(bank, "grass", "stuff")
    entry = bank.get("grass")
    assert entry is not None
    (tmp_path / "x.safetensors").write_bytes(b"half")
    assert read_tensors(tmp_path / "x.safetensors") is None
    assert read_tensors(tmp_path / "y.safetensors") is None
