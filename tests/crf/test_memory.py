"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from mmseg_deeplab.crf.memory import keep_freed_memory
if sys.argv[1] == 'kept':
    keep_freed_memory()
for round in range(13):
    if round == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**24).add_(1)  # 64 MiB, more than glibc keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='counts page faults of glibc')
def test_a_large_block_is_not_taken_from_the_system_again():
    """10 blocks of 16384 pages of 4 KiB: 163840 faults, or one block's at most. Huge pages keep the proportion."""

    def faults(mode: str) -> int:
        return int(subprocess.run([sys.executable, '-c', SCRIPT, mode], capture_output=True, text=True).stdout)

    assert 5 * faults('kept') < faults('given back')
