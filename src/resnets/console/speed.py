"""What a benchmark measured."""

import sys

from resnets.console.text import Told, console_for, print_table, say

WAYS = {"ours": "resnets", "plain": "plain PyTorch, fp32"}


def show_benchmark(benchmark: Told) -> None:
    """Print images per second, ours and plain, and on what they were measured."""
    values = benchmark.to_dict()
    size = "x".join(map(str, values["input_size"]))
    what = "training steps" if values["training"] else "answers"
    rows = [
        [label, *(f"{values[way][key]:,.1f}" for key in ("median", "min", "max"))]
        for way, label in WAYS.items()
    ]
    engine = {"pytorch": "", "onnxruntime": " by ONNX Runtime", "openvino": " by OpenVINO"}
    rows[0][0] += f"{engine[values['engine']]}, {values['precision']}"
    heads = ["images/s", ">median", ">min", ">max"]
    title = f"{values['model']}, {size}, batches of {values['batch_size']}, {what}"
    print_table(console_for(sys.stdout), title, heads, rows)
    say(
        f"{values['ratio']:.2f} times plain PyTorch; "
        f"{values['multiply_adds_per_second'] / 1e9:,.1f} billion multiply-adds/s"
    )
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    load = "unknown" if values["load"] is None else f"{values['load']:.2f}"
    threads = f"{values['threads']} thread{'s' if values['threads'] > 1 else ''}"
    say(
        f"{values['machine']}; {values['device']}, {threads}, "
        f"load before {load}; {versions}; {values['ours']['turns']} turns each"
    )
