import re
from pathlib import Path

import huggingface_hub
import pytest

from segwright import fetching, presets


def test_the_table_of_presets() -> None:
    assert list(presets.PRESETS) == ["sd14", "sd15", "sd21", "sdxl", "mini"]
    for preset in (p for p in presets.PRESETS.values() if p.name != "mini"):
        assert set(preset.parts) == set(presets.NETWORKS)
        assert preset.size > 5e9
    for part in [*presets.DIFFUSION.values(), *presets.CLIPS.values(), *presets.CAPTIONERS.values(), *presets.VITS.values()]:
        assert re.fullmatch("[0-9a-f]{40}", part.revision)
        assert part.licence
        assert not any(f.name.endswith((".bin", ".ckpt", ".pt")) or "fp16" in f.name for f in part.files)
        assert part.pickle is None or re.fullmatch("[0-9a-f]{64}", part.pickle.sha256)


def test_the_description_names_every_preset_and_licence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    text = fetching.describe()
    for word in (*presets.PRESETS, "MIT", "BSD-3-Clause", "4.3 GB", "not fetched yet", "folder"):
        assert word in text
