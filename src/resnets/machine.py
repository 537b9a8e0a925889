"""What this machine offers: cores, and whether bf16 is faster."""

import os


def available_cores() -> int:
    """The cores this process may run on: fewer than the machine's where a container limits it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bf16_gains(device: str) -> bool:
    """Whether training in bf16 is faster: the processor or GPU multiplies bf16 by itself."""
    import torch  # here: `resnets --help` must not wait for torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
