import re
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from segwright import fetching, presets


def test_the_table_of_presets() -> None:
    assert list(presets.PRESETS) == ["sd14", "sd15", "sd15-fast", "sd21", "sdxl", "mini"]
    for preset in (p for p in presets.PRESETS.values() if p.name != "mini"):
        assert set(preset.parts) == set(presets.NETWORKS) - ({"tiny_vae"} if preset.name == "sdxl" else set())
        assert preset.size > 5e9
    tables = (presets.DIFFUSION, presets.CLIPS, presets.CAPTIONERS, presets.VITS)
    others = [presets.TAESD, presets.DINO, presets.MAE, presets.SAM, presets.GROUPVIT]
    for part in [*(p for t in tables for p in t.values()), *others, *(g.part for g in presets.FEW_STEPS.values())]:
        assert re.fullmatch("[0-9a-f]{40}", part.revision)
        assert part.licence
        assert not any(f.name.endswith((".bin", ".ckpt", ".pt")) or "fp16" in f.name for f in part.files)
        assert part.pickle is None or re.fullmatch("[0-9a-f]{64}", part.pickle.sha256)


def test_the_description_names_every_preset_and_licence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    text = fetching.describe()
    for word in (*presets.PRESETS, "MIT", "BSD-3-Clause", "4.3 GB", "not fetched yet", "folder"):
        assert word in text


def test_the_fast_preset_differs_in_its_encoder_and_its_captions_alone() -> None:
    fast, plain = presets.PRESETS["sd15-fast"], presets.PRESETS["sd15"]
    assert replace(fast, name="sd15", tiny=False, beams=None) == plain
    assert (fast.tiny, fast.beams) == (True, 1)
    assert fast.companions(("clip", "diffusion")) == ("diffusion", "tiny_vae", "clip")
    assert plain.companions(("clip", "diffusion")) == ("diffusion", "clip")
    assert fast.companions(("clip",)) == ("clip",)
    assert presets.with_diffusion(fast, "sd21").tiny
    assert not presets.with_diffusion(fast, "sdxl").tiny  # no tiny encoder of its latents is known here
    assert replace(presets.faster(plain), name="sd15-fast") == fast
    assert not presets.faster(presets.PRESETS["sdxl"]).tiny


def test_few_step_weights_have_neither_guidance_nor_a_negative_prompt() -> None:
    for name, scheduler in (("sd-turbo", "euler"), ("lcm", "lcm")):
        sampling = presets.FEW_STEPS[name].sampling
        assert (sampling.steps, sampling.guidance, sampling.negative, sampling.scheduler) == (4, 0.0, "", scheduler)
