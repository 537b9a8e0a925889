"""What this machine offers: cores, and whether bf16 is faster."""

import os
from pathlib import Path

from resnets.errors import ConfigError

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where a Linux container says how much processor time it may use."""


def available_cores() -> int:
    """The cores this process may use: fewer than the machine's where a container limits it."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def default_threads() -> int:
    """Threads for arithmetic: OMP_NUM_THREADS where it is set, else the cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else available_cores()


def usable_device(name: str) -> str:
    """The device of that name, or the fastest for ``auto``. Raises ``ConfigError``."""
    import torch  # here: `resnets --help` must not wait for torch

    available = ["cpu"]
    if torch.cuda.is_available():
        available.append("cuda")
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return available[-1]
    if name not in available:
        raise ConfigError(
            f"device {name!r} is not available here", fix=f"use --device {' or '.join(available)}"
        )
    return name


def bf16_gains(device: str) -> bool:
    """Whether training in bf16 is faster: the processor or GPU multiplies bf16 by itself."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
