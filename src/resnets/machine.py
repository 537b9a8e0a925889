"""What this machine offers: cores, how busy they are, memory, and whether bf16 is faster."""

import ctypes
import os
import platform
from pathlib import Path

from resnets.errors import ConfigError

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where a Linux container says how much processor time it may use."""
MEMORY_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where it says how much memory it may use and uses, in the newer and in the older form."""


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


def processor() -> str:
    """The processor's name and the cores this process may use, as in ``AMD EPYC, 2 cores``."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {available_cores()} cores"


def load_average() -> float | None:
    """Processes that ran or waited to run in the last minute; ``None`` where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def default_threads() -> int:
    """Threads for arithmetic: OMP_NUM_THREADS where it is set, else the cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else available_cores()


def available_memory() -> int | None:
    """Bytes that can still be had without swapping, where Linux tells.

    Within a container it is no more than its limit leaves; the files it has read are counted as
    used there, although they would make room.
    """
    free = _kilobytes("/proc/meminfo", "MemAvailable")
    if free is None:
        return None
    left = [free * 1024]
    for limit, used in MEMORY_LIMITS:
        try:
            left.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return max(0, min(left))


def peak_memory() -> int | None:
    """The most bytes this process has had in memory at once, where Linux tells.

    Of this program alone: ``getrusage`` counts what ran in the process before it as well.
    """
    peak = _kilobytes("/proc/self/status", "VmHWM")
    return None if peak is None else peak * 1024


def _kilobytes(path: str, key: str) -> int | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(key + ":"))
    return next(map(int, found), None)


def keep_memory() -> bool:
    """Let this process keep the memory it frees, where the C library is glibc.

    Otherwise every large tensor comes from the system anew and goes back to it at its end: the
    system clears each page of it, in each step of a training, which takes a tenth of the step. The
    most that is held at once does not grow by it. Returns whether the library could be told.
    """
    trim_threshold, most_maps = -1, -4  # as malloc.h numbers them
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return False
    return bool(tell(trim_threshold, 2**31 - 1) and tell(most_maps, 0))


def return_memory() -> bool:
    """Let this process give back at once what it frees: the opposite of ``keep_memory``.

    For one that lives long and whose large pieces come from others. Returns whether the library
    could be told.
    """
    trim_threshold, map_threshold, most_maps = -1, -3, -4
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    told = [tell(trim_threshold, 2**17), tell(map_threshold, 2**17), tell(most_maps, 2**16)]
    return all(told)


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
