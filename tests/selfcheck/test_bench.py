"""segwright bench: counted operations against formulas, every step once, early stop, words made once, JSON and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import segwright as sw
from segwright.cli import main
from segwright.errors import InputError
from segwright.selfcheck.bench import ALL, REFINED, REST, Bench, as_rows, table
from segwright.selfcheck.floor import Meter, rate

CPU = torch.device("cpu")


def test_operations_are_those_of_the_formulas() -> None:
    layer, meter = nn.Linear(8, 16), Meter(CPU)
    attention = nn.Module()
    attention.forward = torch.nn.functional.scaled_dot_product_attention  # type: ignore[method-assign]
    query, key = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4)
    with meter.watching({"layer": layer, "attention": attention}), meter.counting(), torch.no_grad():
        layer(torch.randn(10, 8))
        layer(torch.randn(10, 8))
        attention(query, key, key)
    assert meter.flop["layer"] == 2 * (2 * 10 * 8 * 16)
    assert meter.flop["attention"] == 2 * (2 * 2 * 3 * 5 * 7 * 4)


def test_a_module_that_is_left_early_is_counted_too() -> None:
    class Left(Exception):  # noqa: N818
        pass

    class Early(nn.Module):
        def forward(self) -> None:
            raise Left

    meter, module = Meter(CPU), Early()
    with meter.watching({"early": module}), pytest.raises(Left):
        module()
    assert meter.seconds["early"] > 0
    assert not module._forward_hooks


def test_rate_is_a_rate() -> None:
    assert rate(CPU, torch.float32) > 1e8


def test_every_step_of_a_method_adds_up() -> None:
    rows = list(sw.bench("mini", ["freeseg-diff"], "cpu", how=Bench(batches=(1, 2), repeats=1, side=64)))
    for batch in (1, 2):
        steps = {row.step: row for row in rows if row.batch == batch}
        assert {"U-Net", "encoder", "CLIP, pictures", "caption, picture", "caption, words", REFINED, REST, ALL} <= set(steps)
        assert "decoder" not in steps
        parts = sum(row.seconds for step, row in steps.items() if step != ALL)
        assert parts == pytest.approx(steps[ALL].seconds, rel=0.01)
        assert steps[ALL].flop == sum(row.flop for step, row in steps.items() if step != ALL)
        assert steps[ALL].memory > 2**20
    alone, pair = ({r.step: r.flop for r in rows if r.batch == b} for b in (1, 2))
    assert pair["encoder"] == alone["encoder"] > 0  # a photo's own
    assert "U-Net" in table(rows)
    json.dumps(as_rows(rows))


def test_a_refiner_and_a_word() -> None:
    small = Bench(repeats=1, side=48, texts=("support.pictures=1", "support.sampling.steps=2", "extractors=sd"))
    rows = list(sw.bench("mini", ["ovdiff"], "cpu", how=small))
    made = {row.step: row for row in rows if row.target == "ovdiff, a word"}
    assert made["U-Net"].flop > 0
    assert made["decoder"].flop > 0
    assert any(row.target == "ovdiff" for row in rows)
    crf = list(sw.bench("mini", ["crf"], "cpu", how=Bench(repeats=1, side=48)))
    assert [row.step for row in crf] == [REST, ALL]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", "--preset", "mini", "--method", "crf", "--repeats", "1", "--side", "32", "-o", str(out)]) == 0
    assert "GFLOP/s" in capsys.readouterr().out
    known = json.loads(out.read_text())
    assert known["machine"]["rate"] > 0
    assert known["rows"][-1]["step"] == ALL


@pytest.mark.parametrize("wrong", [{"batches": (0,)}, {"batches": ()}, {"repeats": 0}, {"side": 8}])
def test_numbers_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="or more"):
        Bench(**wrong)  # type: ignore[arg-type]


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="what to measure"):
        next(iter(sw.bench("mini", ["nothing"])))
    with pytest.raises(InputError, match="size of sd15 or sd21"):
        next(iter(sw.bench("mini", ["maskclip"], "cpu", how=Bench(random=True))))
    assert main(["bench", "--batch", "one"]) == 2
