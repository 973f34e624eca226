"""The C library's allocator, in processes of their own: its settings are for good."""

import os
import subprocess
import sys

import pytest

from sidecar.app import memory

# Blocks as they come and go with a body: how often the kernel has to give the memory anew.
FAULTS = """
import resource
from sidecar.app.memory import keep_freed_memory
if {told}:
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(60):
    if number == 10:
        before = faults()
    blocks = [bytes(200_000) for _ in range(10)]
    del blocks
print(faults() - before)
"""
IS_GLIBC = "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in os.confstr_names else False


def faults(*, told: bool) -> int:
    program = FAULTS.format(told=told)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=20).stdout)


@pytest.mark.skipif(not IS_GLIBC, reason="another C library")
def test_freed_memory_is_used_again_instead_of_given_back() -> None:
    assert faults(told=True) * 10 < faults(told=False)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> str:
        raise ValueError

    for confstr in (unknown, lambda _name: None, lambda _name: "musl 1.2"):
        monkeypatch.setattr(memory.os, "confstr", confstr)
        assert not memory.keep_freed_memory()
