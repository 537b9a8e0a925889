"""What a process does with the memory it frees."""

import resource
import subprocess
import sys

import pytest

KEPT = """
import resource, sys, torch
from resnets.machine import keep_memory
assert not sys.argv[1:] or keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
before = faults()
for _ in range(20):
    torch.ones(2**24)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its page faults")
def test_kept_memory_is_not_cleared_again() -> None:
    def page_faults(*arguments: str) -> int:
        run = [sys.executable, "-c", KEPT, *arguments]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)

    pages = 20 * 2**26 // resource.getpagesize()
    assert page_faults("keep") < pages / 10 < pages / 2 < page_faults()
