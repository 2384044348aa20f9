"""A repository's pickle as safetensors, once: read with ``weights_only=True`` after its sha256 was compared with a pinned one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from segwright.errors import WeightsError
from segwright.models.download import is_whole
from segwright.models.repositories import File, Part, reason


def convert(path: Path, target: Path, part: Part, keep: bool) -> None:
    """Write ``model.safetensors`` with the pickle's tensors, and the files that lie beside the pickle, into ``target``.

    Tensors that share memory (tied weights) are written under each of their names. The pickle, which is as large as what was
    made of it, is removed unless ``keep``.

    Raises:
        WeightsError: the pickle is another one, holds more than tensors, or cannot be written.
    """
    if part.pickle is None or not part.pickle.sha256 or not is_whole(path, part.pickle.sha256):
        raise WeightsError(f"{path} is not the pinned file ({_pin(part.pickle)}); it was not opened")
    half = target.with_name(f"{target.name}.incomplete")
    shutil.rmtree(half, ignore_errors=True)
    try:
        half.mkdir(parents=True)
        _write(path, half / "model.safetensors")
        for other in path.parent.iterdir():
            if other.is_file() and other != path:
                shutil.copyfile(other, half / other.name)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(half, target)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} cannot be converted to safetensors ({reason(error)})") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    if not keep:
        path.resolve().unlink()
        path.unlink(missing_ok=True)


def _write(path: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    found: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{path} does not hold named tensors alone")
    save_file({name: value.clone().contiguous() for name, value in found.items()}, target, {"format": "pt"})


def _pin(pickle: File | None) -> str:
    return f"sha256 {pickle.sha256[:12]}..." if pickle is not None and pickle.sha256 else "no sha256 is known"
