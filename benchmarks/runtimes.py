"""OpenVINO and ONNX Runtime beside torch: networks of Stable Diffusion 1.5's size with random weights, on one core.

    OMP_NUM_THREADS=1 python benchmarks/runtimes.py clip blip vae unet [--ways openvino,...] [--repeats 3]

Needs ``pip install openvino onnxruntime onnx onnxscript nncf`` beside segwright; what is missing or fails is said and left
out. Each way takes turns with torch in float32, networks as transformers and diffusers give them (convolutions channels-last,
as segwright keeps them); seconds of the processor, all threads. "off" is the largest difference of the answer from torch's, in
its standard deviations. int8 takes its ranges from four random inputs: enough for the time, not for masks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segwright.models.linears import through_onednn
from segwright.selfcheck.random_networks import makers, ready, tokenizers

Run = Callable[[], Tensor]


class Only(nn.Module):
    """One tensor in place of transformers' and diffusers' dictionaries."""

    def __init__(self, network: nn.Module, *rest: Any) -> None:
        super().__init__()
        self.network, self.rest = network, rest

    def forward(self, *given: Tensor) -> Tensor:
        found = self.network(*given, *self.rest)
        return found if isinstance(found, Tensor) else found[0]


def network(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network and its input, in float32 as segwright keeps it."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        unet, vae, _, clip, blip = makers(*tokenizers(Path(folder)))
    last = {"memory_format": torch.channels_last}
    if name == "unet":
        return Only(ready(unet, torch.float32).to(**last)), (torch.randn(1, 4, 64, 64), torch.tensor([50]), torch.randn(1, 77, 768))
    if name == "vae":
        return Only(ready(vae, torch.float32).encoder.to(**last)), (torch.randn(1, 3, 512, 512),)
    if name == "clip":
        return Only(ready(clip, torch.float32).vision_model), (torch.randn(4, 3, 224, 224),)
    return Only(ready(blip, torch.float32).vision_model), (torch.randn(1, 3, 384, 384),)


# --- ways: each gives a function that runs the network once


def linears(net: nn.Module, given: tuple[Tensor, ...], _: Path) -> Run:
    """torch, its linear layers through oneDNN, as segwright's captioner."""
    through_onednn(net)  # in place: so this way comes last
    return lambda: net(*given)


def half(net: nn.Module, given: tuple[Tensor, ...], _: Path) -> Run:
    import copy

    short = copy.deepcopy(net).to(torch.bfloat16)
    inputs = [x.to(torch.bfloat16) if x.is_floating_point() else x for x in given]
    return lambda: short(*inputs).float()


def openvino(net: nn.Module, given: tuple[Tensor, ...], _: Path, kind: str = "f32", calibrate: bool = False) -> Run:
    import openvino as ov

    model = ov.convert_model(net, example_input=given)
    if calibrate:
        import nncf

        scenes = [tuple(torch.randn_like(x).numpy() if x.is_floating_point() else x.numpy() for x in given) for _ in range(4)]
        transformer = nncf.ModelType.TRANSFORMER
        model = nncf.quantize(model, nncf.Dataset(scenes), subset_size=len(scenes), model_type=transformer)
    hints = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = ov.Core().compile_model(model, "CPU", hints)
    inputs = [x.numpy() for x in given]
    return lambda: torch.from_numpy(compiled(inputs)[0])


def onnxruntime(net: nn.Module, given: tuple[Tensor, ...], folder: Path, calibrate: bool = False) -> Run:
    import onnxruntime as ort

    path = folder / "network.onnx"
    if not path.exists():
        torch.onnx.export(net, given, str(path), dynamo=True, external_data=True, optimize=False, verbose=False)
    if calibrate:  # weights and, while it runs, inputs of matrix products; convolutions stay in float32
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(path, folder / "int8.onnx", op_types_to_quantize=["MatMul", "Gemm"], use_external_data_format=True)
        path = folder / "int8.onnx"
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {slot.name: x.numpy() for slot, x in zip(session.get_inputs(), given, strict=True)}
    return lambda: torch.from_numpy(session.run(None, inputs)[0])


WAYS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], Path], Run]] = {
    "torch-bfloat16": half,
    "openvino": openvino,
    "openvino-bfloat16": lambda *args: openvino(*args, kind="bf16"),
    "openvino-int8": lambda *args: openvino(*args, calibrate=True),
    "onnxruntime": onnxruntime,
    "onnxruntime-int8": lambda *args: onnxruntime(*args, calibrate=True),
    "torch-onednn": linears,
}  # ONNX Runtime's products for x86 know no bfloat16


def measure(base: Run, other: Run, repeats: int) -> str:
    """Both in turns."""
    wanted, found = base(), other()
    off = float((found - wanted).abs().max() / wanted.std())
    seconds: list[tuple[float, float]] = []
    for _ in range(repeats):
        times = []
        for run in (base, other):
            begun = time.process_time()
            run()
            times.append(time.process_time() - begun)
        seconds.append((times[0], times[1]))
    ratios = [a / b for a, b in seconds]
    middle = [statistics.median(column) for column in zip(*seconds, strict=True)]
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    return f"torch {middle[0]:.3f} s, this {middle[1]:.3f} s, ratio {statistics.median(ratios):.2f} {spread}, off {off:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=("clip", "blip", "vae", "unet"))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.networks:
        net, given = network(name)
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            for way in options.ways.split(","):
                begun = time.process_time()
                try:
                    plain = net if way != "torch-onednn" else network(name)[0]
                    run = WAYS[way](net, given, Path(folder))
                    made = time.process_time() - begun
                    line = measure(lambda plain=plain, given=given: plain(*given), run, options.repeats)
                    print(f"{name:5s} {way:18s} {line}; {made:.0f} s to make (load {os.getloadavg()[0]:.1f})", flush=True)
                    del run, plain
                except Exception as error:
                    print(f"{name:5s} {way:18s} not measured: {type(error).__name__}: {str(error).splitlines()[:1]}", flush=True)


if __name__ == "__main__":
    main()
