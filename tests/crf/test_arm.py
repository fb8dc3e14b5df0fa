"""The native kernel compiled for 64-bit ARM as setup.py compiles it there, and run by an emulator.

On Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static
"""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from crf_helpers import make_image, make_probabilities

from mmseg_deeplab.crf import DenseCRF

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'mmseg_deeplab/crf/native'
COMPILER, EMULATOR = 'aarch64-linux-gnu-g++', 'qemu-aarch64-static'


@pytest.fixture(scope='module')
def program(tmp_path_factory) -> Path:
    if not shutil.which(COMPILER) or not shutil.which(EMULATOR):
        pytest.skip(f'needs {COMPILER} and {EMULATOR}')
    folder = tmp_path_factory.mktemp('arm')
    setup = (ROOT / 'setup.py').read_text()
    sources = ast.literal_eval(re.search(r"for name in (\('lattice'.*?\))\]", setup).group(1))
    common = ast.literal_eval(re.search(r'COMMON = (\[.*?\])', setup).group(1))
    for source, contraction in ('elevate', 'off'), ('kernels', 'fast'):
        flags = [*common, '-DDCRF_ISA=baseline', f'-ffp-contract={contraction}', '-o', folder / f'{source}.o']
        subprocess.run([COMPILER, *flags, '-c', FOLDER / f'{source}.cpp'], check=True)
    parts = [Path(__file__).parent / 'arm_driver.cpp', *(FOLDER / f'{name}.cpp' for name in sources)]
    parts += [folder / 'elevate.o', folder / 'kernels.o']
    subprocess.run([COMPILER, *common, '-I', FOLDER, *parts, '-static', '-pthread', '-o', folder / 'crf'], check=True)
    return folder / 'crf'


@pytest.mark.parametrize(('height', 'width', 'classes'), [(1, 1, 2), (61, 83, 21), (37, 50, 45)])
def test_the_answer_on_arm_is_that_of_torch(program, height, width, classes):
    image, p = make_image(height, width), make_probabilities(classes, height, width)
    expected = DenseCRF(mode='all', backend='torch')(image, p)
    for mode, name in enumerate(('all', 'adaptive', 'fast')):
        size = np.array([height, width, classes, mode], np.int32)
        program.with_name('in').write_bytes(size.tobytes() + p.tobytes() + image.tobytes())
        run = [EMULATOR, program, program.with_name('in'), program.with_name('out')]
        assert subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip() == 'baseline'
        q = np.fromfile(program.with_name('out'), np.float32).reshape(p.shape)
        if name != 'fast':
            assert abs(q - expected).max() < 1e-4
        assert (q.argmax(0) == expected.argmax(0)).all()
