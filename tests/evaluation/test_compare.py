"""compare: paired differences against a slow twin; reports that cannot be paired or read."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from segwright.errors import InputError
from segwright.evaluation.compare import compare, table
from segwright.evaluation.run import evaluate
from segwright.metrics import confusion, miou

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))
from toys import Empty, Guessing, Knowing, folder

from segwright.files.masks import read_label_map


def test_paired_differences(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data", photos=7)
    for name, method in (("guess", Guessing()), ("truth", Knowing(dataset)), ("again", Guessing())):
        evaluate(method, dataset, tmp_path / name)
    first, better, same = compare([tmp_path / "guess", tmp_path / "truth" / "report.json", tmp_path / "again"])
    assert first.difference is None
    assert better.difference is not None
    assert same.difference is not None
    assert (same.difference.value, same.difference.low, same.difference.high, same.difference.above) == (0, 0, 0, 0)
    pairs = [(i.truth(), read_label_map(tmp_path / f"guess/predictions/{i.id}.png")) for i in dataset.items]
    said = [confusion(t, p, 4) for t, p in pairs]
    true = [confusion(t, np.where(t == 255, 0, t), 4) for t, _ in pairs]
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.multinomial(7, np.full(7, 1 / 7), 100) for _ in range(10)])
    gains = [miou(sum(w * m for w, m in zip(ws, true, strict=True))) - miou(sum(w * m for w, m in zip(ws, said, strict=True)))
             for ws in weights]  # fmt: skip
    assert better.difference.value == pytest.approx(1 - miou(sum(said)))
    # Student's 2.4469 for 6 degrees of freedom, times sqrt(7 / 6)
    tails = [0.5 * math.erfc(sign * 2.446912 * math.sqrt(7 / 6) / math.sqrt(2)) for sign in (1, -1)]
    assert (better.difference.low, better.difference.high) == pytest.approx(tuple(np.quantile(gains, tails)))
    assert better.difference.above == 1
    assert f"{100 * better.difference.value:+.2f}" in table([first, better, same])
    rows = compare([tmp_path / "guess", tmp_path / "truth"])
    assert str(rows) == repr(rows) == table(rows)
    assert len(str(rows).splitlines()) == 4


def test_what_cannot_be_paired_or_read_is_said(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data")
    evaluate(Empty(), dataset, tmp_path / "all")
    evaluate(Empty(), dataset, tmp_path / "some", limit=3)
    assert compare([tmp_path / "all", tmp_path / "some"])[1].note == "not paired: other photos"
    with pytest.raises(InputError, match=r"report\.json cannot be read"):
        compare([tmp_path / "nowhere"])
    (tmp_path / "some/report.json").write_text("[]", "utf8")
    with pytest.raises(InputError, match="is damaged"):
        compare([tmp_path / "some"])
    evaluate(Empty(), dataset, tmp_path / "other")
    (tmp_path / "other/photos.jsonl").unlink()
    with pytest.raises(InputError, match="photos cannot be paired"):
        compare([tmp_path / "all", tmp_path / "other"])
