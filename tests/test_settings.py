"""Settings by name: texts and dictionaries become typed settings, and wrong ones are refused by name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from segwright.diagnosis.subject import DiagnoseSettings
from segwright.errors import InputError
from segwright.methods import METHODS, find_method
from segwright.methods.base import MethodSpec
from segwright.methods.ovdiff.support import SupportSettings
from segwright.models.diffusion import FeatureSettings
from segwright.presets import find_preset
from segwright.refine import CRF, REFINERS, G4Seg
from segwright.refine.pipeline import changed_row, parse_refiners
from segwright.runs.refine_masks import RefinementSettings
from segwright.settings import (
    Setting,
    as_text,
    build,
    changed,
    describe,
    documented,
    group,
    paths,
    read_settings,
    settings_tree,
)  # fmt: skip


@dataclass(frozen=True)
class Inner:
    """Attributes:
    kind: one line,
        and another.
    size: of it.
    """

    kind: str = "plain"
    size: int = 3


@dataclass(frozen=True)
class Outer:
    """An outer one.

    Attributes:
        count, share: two.
        inner: has parts.

    Raises:
        InputError: no.
    """

    count: int = 1
    share: float = 0.5
    on: bool = False
    name: str | None = None
    pair: tuple[float, float] | None = (0.2, 0.6)
    many: tuple[int, ...] = (1, 2)
    weights: tuple[tuple[int, float], ...] = ()
    inner: Inner | None = field(default=None, metadata={"preset": "own"})

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError("count must be 0 or more")


TREE = settings_tree(Outer)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("count=7", 7), ("share=1", 1.0), ("share=1e-3", 1e-3), ("on=true", True), ("on=no", False), ("name=none", None),
        ("name=None", None), ("name=a, b=c", "a, b=c"), ("pair=0.1,0.9", (0.1, 0.9)), ("pair=none", None), ("many=", ()),
        ("many=5", (5,)), ("many=[4, 5]", (4, 5)), ("weights=[[8, 0.3], [16, 1]]", ((8, 0.3), (16, 1.0))),
    ],
)  # fmt: skip
def test_a_text_becomes_its_type(text: str, value: Any) -> None:
    name = text.partition("=")[0]
    read = read_settings([text], TREE, "toy")[name]
    assert read == value
    assert type(read) is type(value)
    assert getattr(build(Outer, {name: read}, "toy"), name) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("count=x", "count must be a whole number, got 'x'"), ("count=1.5", "whole number"), ("on=2", "on must be true or false"),
        ("pair=1,2,3", "pair must be several values"), ("many=1,x", "many must be"), ("weights=1,2", "weights must be"),
        ("count", "written NAME=VALUE, got 'count'"), ("=3", "NAME=VALUE"), ("cuont=3", "did you mean count"),
        ("size=3", "this is inner.size"), ("inner.siez=3", "did you mean inner.size"),
        ("inner=3", "give inner.kind, inner.size or none"),
        ("count.x=3", "no setting 'count.x'"), ("share=nan,1", "share must be a number"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings([text], TREE, "toy")
    assert sentence in str(caught.value)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"inner\.size is given twice"):
        read_settings(["inner.size=3", "inner.kind=a", "inner.size=3"], TREE, "toy")


def test_a_dictionary_changes_what_the_preset_has() -> None:
    @dataclass(frozen=True)
    class Preset:
        own: Inner = Inner("preset's", 9)

    assert build(Outer, {"inner": {"size": 4}}, "toy").inner == Inner("plain", 4)
    assert build(Outer, {"inner": {"size": 4}}, "toy", Preset()).inner == Inner("preset's", 4)
    assert changed(Outer(inner=Inner("mine", 1)), {"inner": {"size": 4}}, "toy", Preset()).inner == Inner("mine", 4)
    assert build(Outer, {"inner": Inner("whole", 2)}, "toy", Preset()).inner == Inner("whole", 2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"count": "4"}, "count must be a whole number, got '4'"), ({"count": True}, "count must be"), ({"on": 1}, "on must be"),
        ({"size": 4}, "this is inner.size"), ({"inner": {"siez": 4}}, "inner of toy has no setting 'siez'; did you mean size"),
        ({"many": "12"}, "many must be"), ({"count": -1}, "0 or more"),
    ],
)  # fmt: skip
def test_python_gets_the_same_messages(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        build(Outer, given, "toy")
    assert sentence in str(caught.value)


def test_docstrings_are_read() -> None:
    assert documented(Outer) == {"count": "two.", "share": "two.", "inner": "has parts."}
    assert documented(Inner) == {"kind": "one line, and another.", "size": "of it."}
    rows = {row.path: row for row in describe(Outer)}
    assert (rows["pair"].kind, rows["pair"].default) == ("number, number or none", "0.2,0.6")
    assert (rows["inner.kind"].kind, rows["inner.kind"].default) == ("text", "plain")
    assert rows["inner.size"].about == "of it."


@pytest.mark.parametrize("name", METHODS)
def test_every_default_of_every_method_can_be_given_as_text(name: str) -> None:
    kind = find_method(name)
    rows = [row for row in describe(kind.Settings) if row.path != "refine"]
    texts = [f"{row.path}={row.default}" for row in rows if not any(other.path.startswith(row.path + ".") for other in rows)]
    read = read_settings(texts, kind.settings_tree(), name)
    parts = {key: value for key, value in read.items() if isinstance(value, dict)}
    assert kind.checked({k: v for k, v in read.items() if k not in parts}) == kind.Settings()
    for key, value in parts.items():
        built = getattr(kind.checked({key: value}), key)
        assert built == type(built)()


@pytest.mark.parametrize("name", METHODS)
def test_every_path_of_every_method_is_known_to_messages(name: str) -> None:
    kind = find_method(name)
    known = set(paths(kind.settings_tree()))
    assert {f.name for f in fields(kind.Settings)} | {f"refine.{r}" for r in REFINERS} | set(kind.options) <= known


def test_a_method_takes_texts() -> None:
    spec = MethodSpec("freeseg-diff", "mini").with_texts(["clusters=6", "features.kind=query", "refine.crf.iterations=3"])
    settings = spec.load().settings
    own = find_preset("mini").features
    assert (settings.clusters, settings.features.kind, settings.features.resolutions) == (6, "query", own.resolutions)
    assert [(type(r), r.iterations, r.binary) for r in settings.refine] == [(CRF, 3, True)]  # the method's own CRF, changed
    with pytest.raises(InputError, match=r"freeseg-diff has no setting 'timestep'; this is features\.timestep or refine\.g4seg"):
        MethodSpec("freeseg-diff", "mini").with_texts(["timestep=100"])
    with pytest.raises(InputError, match=r"g4seg is not among the refiners \(crf\)"):
        MethodSpec("freeseg-diff", "mini").with_texts(["refine.g4seg.timestep=100"])
    before = MethodSpec("freeseg-diff", "mini", settings={"clusters": 3, "features": {"size": 16, "kind": "cross"}})
    after = before.with_texts(["clusters=4", "features.kind=query"])
    assert after.settings == {"clusters": 4, "features": {"size": 16, "kind": "query"}}
    whole = MethodSpec("freeseg-diff", "mini", settings={"features": FeatureSettings(size=16)}).with_texts(["features.kind=query"])
    assert whole.settings["features"] == FeatureSettings(size=16, kind="query")


def test_refine_by_text_with_and_without_its_parts() -> None:
    both = MethodSpec("sclip", "mini").with_texts(["refine=g4seg,crf", "refine.g4seg.timestep=100"])
    assert both.settings["refine"] == (G4Seg(timestep=100), CRF())
    assert MethodSpec("freeseg-diff", "mini").with_texts(["refine=none"]).settings == {"refine": None}
    given = MethodSpec("sclip", "mini", settings={"refine": "crf"}).with_texts(["refine.crf.iterations=2"])
    assert given.settings["refine"] == (CRF(iterations=2),)
    with pytest.raises(InputError, match="refine is given twice"):
        MethodSpec("sclip", "mini").with_texts(["refine=pamr", "refine=crf"])


def test_options_of_a_method_by_text() -> None:
    spec = MethodSpec("ovdiff", "mini").with_texts(["support.pictures=4", "support.sampling.steps=2", "stuff=grass,sky", "most=3"])
    assert spec.extras == {"support": {"pictures": 4, "sampling": {"steps": 2}}, "stuff": ("grass", "sky")}
    assert spec.settings == {"most": 3}


def test_a_methods_dictionaries(tmp_path: Any) -> None:
    method = find_method("ovdiff").load("mini", bank=tmp_path / "b", support={"pictures": 4, "sampling": {"steps": 2}})
    assert method.support.pictures == 4
    assert method.support.sampling.steps == 2
    assert method.support.sampling.guidance == find_preset("mini").sampling.guidance
    assert method.support.parts == SupportSettings().parts
    row = find_method("maskclip").load("mini", refine={"g4seg": {"inversion": {"inner": 2}}, "pamr": {}}).settings.refine
    assert [r.name for r in row] == ["g4seg", "pamr"]
    assert row[0].inversion.inner == 2


def test_rows_change_by_name() -> None:
    assert changed_row("crf", {"crf": {"iterations": 5}}) == (CRF(iterations=5),)
    assert parse_refiners({"crf": {"iterations": 5}}) == (CRF(iterations=5),)
    assert parse_refiners({"crf": {}}, {"crf": CRF(binary=True)}) == (CRF(binary=True),)
    with pytest.raises(InputError, match="did you mean iterations"):
        parse_refiners({"crf": {"iteratoins": 5}})


def test_values_as_texts() -> None:
    assert [as_text(v) for v in (None, True, 4, 0.5, "a", (1, 2), ())] == ["none", "true", "4", "0.5", "a", "1,2", ""]
    assert json.loads(as_text((("a", (1, 2)),))) == [["a", [1, 2]]]
    assert json.loads(as_text(("a, b", "c"))) == ["a, b", "c"]


@pytest.mark.parametrize("value", [(), ("a",), ("a", "b"), ("a, b", "c"), ("[a]",), (" a",), ("",), ("a", ""), ("None",), None])
def test_texts_are_read_as_they_were(value: Any) -> None:
    assert read_settings([f"several={as_text(value)}"], {"several": tuple[str, ...] | None}, "x") == {"several": value}


def test_dictionaries_are_taken_where_settings_hold_settings() -> None:
    from segwright.methods.freeseg_diff.method import FreeSegDiffSettings
    from segwright.methods.ovdiff.support import SupportSettings
    from segwright.models.diffusion import FeatureSettings
    from segwright.models.sampling import SamplingSettings
    from segwright.refine import G4SegSettings, InversionSettings

    assert SupportSettings(sampling={"steps": 4}).sampling == SamplingSettings(steps=4)  # type: ignore[arg-type]
    assert FreeSegDiffSettings(features={"kind": "query"}).features == FeatureSettings(kind="query")  # type: ignore[arg-type]
    assert G4SegSettings(inversion={}).inversion == InversionSettings()  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"sampling of SupportSettings has no setting 'step'; did you mean steps\?"):
        SupportSettings(sampling={"step": 4})  # type: ignore[arg-type]


def test_a_setting_of_a_setting_is_named_with_its_path_in_python_too() -> None:
    import segwright as sw

    with pytest.raises(InputError, match=r"freeseg-diff has no setting 'timestep'; this is features\.timestep"):
        sw.load_method("freeseg-diff", "mini", "cpu", timestep=100)


def test_scores_are_an_array() -> None:
    import numpy as np
    import torch

    from segwright.types import Scores

    values = torch.tensor([[[0.25, 1.0]], [[0.75, 0.0]]])
    scores = Scores(("a",), (0, 1), values)
    assert np.array_equal(np.asarray(scores), values.numpy())
    assert np.asarray(scores, np.float64).dtype == np.float64


# A source is named, or it is said that the default is ours and on what it was chosen, or why it is as it is.
SOURCE = re.compile(r"publish|paper|Secs?\. |Tables? |Figs?\. |Eqs?\. |DeepLab|et al\.|\bours: \w")
NONE = re.compile(r"not in (the|this) paper|the paper states none")


def settings_of_everything() -> list[Setting]:
    """Every setting of every method with its options, of every refiner, of diagnoses and of refined folders, nested ones too."""
    kinds: list[tuple[str, Any]] = [(name, find_method(name).Settings) for name in METHODS]
    options = [(f"{name}.{path}", group(hint)) for name in METHODS for path, hint in find_method(name).options.items()]
    kinds += [(path, kind) for path, kind in options if kind is not None]
    kinds += [*REFINERS.items(), ("diagnose", DiagnoseSettings), ("refine", RefinementSettings)]
    return [setting for path, kind in kinds for setting in describe(kind, f"{path}.")]


@pytest.mark.parametrize("about", ["", "K of k-means.", "0.5; Context 0.3", "its size (ours)", "not in the paper"])
def test_a_text_without_a_source_would_be_found(about: str) -> None:
    assert not SOURCE.search(NONE.sub("it", about))


def test_every_settings_text_names_its_source() -> None:
    settings = settings_of_everything()
    assert len(settings) > 170
    assert not [f"{s.path}: {s.about}" for s in settings if not SOURCE.search(NONE.sub("it", s.about))]
