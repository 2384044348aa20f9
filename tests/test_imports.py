"""``import segwright`` stays light, and what it promises is there."""

from __future__ import annotations

import subprocess
import sys

import segwright


def test_heavy_libraries_are_not_imported_with_the_package() -> None:
    code = "import sys, segwright; print([m for m in ('torch', 'diffusers', 'transformers', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_all_names_resolve() -> None:
    for name in segwright.__all__:
        assert getattr(segwright, name) is not None
