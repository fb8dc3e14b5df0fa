"""The native kernel by itself: under sanitizers, beside the torch backend on odd problems, and over many calls."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from crf_helpers import make_image, make_probabilities

from mmseg_deeplab.crf import DenseCRF, native

ROOT = Path(__file__).parents[2]
needs_kernel = pytest.mark.skipif(not native.is_available(), reason='the kernel was not built')


def random_problem(rng: np.random.Generator) -> tuple[dict, np.ndarray, np.ndarray]:
    """Parameters of a CRF, a picture and probabilities, of any kind that is allowed."""
    classes = int(rng.choice([2, 3, 7, 8, 9, 16, 21, 24, 33, 40]))
    height, width = (int(v) for v in rng.integers(1, 34, 2))
    bands = int(rng.choice([1, 3, 3, 4]))
    image = rng.integers(0, 256, (height, width, bands)).astype(np.uint8)
    if rng.random() < 0.5:
        image = np.repeat(image[:1], height, 0) // 32 * 32  # few points for many pixels
    logits = rng.normal(0, rng.choice([0.1, 2, 8]), (classes, height, width))
    p = np.exp(logits - logits.max(0))
    p = (p / p.sum(0)).astype(np.float32)
    p[p < rng.choice([0, 1e-3])] = 0

    def compat():
        form = rng.choice(['number', 'number', 'number', 'vector', 'matrix', 'negative'])
        if form == 'vector':
            return rng.normal(-1, 1, classes)
        if form == 'matrix':
            return rng.normal(0, 1, (classes, classes)) / classes
        return float(rng.uniform(0, 5)) * (-0.2 if form == 'negative' else 1)

    parameters = dict(
        iterations=int(rng.integers(0, 6)),
        pos_w=compat(),
        pos_xy_std=float(rng.choice([0.4, 0.7, 1, 3, 20])),
        bi_w=compat(),
        bi_xy_std=tuple(rng.uniform(2, 60, 2).tolist()),
        bi_rgb_std=float(rng.uniform(3, 80)),
        normalization=str(rng.choice(['symmetric', 'symmetric', 'before', 'after', 'no'])),
    )
    if parameters['normalization'] == 'no':
        parameters['pos_w'], parameters['bi_w'] = 0.01, 0.01 * np.asarray(parameters['bi_w'])
    return parameters, image, p


@needs_kernel
@pytest.mark.parametrize('seed', range(60))
def test_random_problems_have_the_answer_of_torch(seed):
    parameters, image, p = random_problem(np.random.default_rng(seed))
    expected = DenseCRF(**parameters, backend='torch', mode='all')(image, p)
    # Rounding is amplified where two classes are as likely as each other: a tenth of what a wrong term would do.
    for mode, error in (('all', 2e-3), ('adaptive', 2e-3), ('fast', 0.1)):
        q = DenseCRF(**parameters, backend='native', mode=mode)(image, p)
        assert abs(q - expected).max() < error, (mode, parameters)


@needs_kernel
@pytest.mark.parametrize('instructions', ['baseline', 'avx2', 'avx512'])
def test_every_instruction_set_gives_one_answer(instructions, tmp_path):
    image, p = make_image(64, 83), make_probabilities(21, 64, 83)
    np.savez(tmp_path / 'problem.npz', image=image, p=p)
    script = (
        'import sys, numpy as np\n'
        'from mmseg_deeplab.crf import DenseCRF, native\n'
        'z = np.load(sys.argv[1] + "/problem.npz")\n'
        'qs = {m: DenseCRF(mode=m)(z["image"], z["p"]) for m in ("all", "adaptive", "fast")}\n'
        'np.savez(sys.argv[1] + "/answer.npz", **qs)\n'
        'print(native.instruction_set())\n'
    )
    run = subprocess.run(
        [sys.executable, '-c', script, tmp_path],
        env={**os.environ, 'DCRF_ISA': instructions, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    if run.stdout.strip() != instructions:
        pytest.skip(f'this processor has no {instructions}')
    answer = np.load(tmp_path / 'answer.npz')
    expected = DenseCRF(backend='torch', mode='all')(image, p)
    for mode in 'all', 'adaptive':
        assert abs(answer[mode] - expected).max() < 1e-4
    assert (answer['fast'].argmax(0) == expected.argmax(0)).mean() > 0.9999


SANITIZED = """
import ctypes, sys
import numpy as np
from mmseg_deeplab.crf import DenseCRF, native
library = native.declare(ctypes.CDLL(sys.argv[1]))
native._find = lambda: library
sys.path.insert(0, sys.argv[2])
from test_native import random_problem
for seed in range(int(sys.argv[3])):
    parameters, image, p = random_problem(np.random.default_rng(1000 + seed))
    for mode in 'all', 'adaptive', 'fast':
        crf = DenseCRF(**parameters, backend='native', mode=mode)
        crf(image, p)
        *_, last = crf.steps(image.astype(np.uint16), p)
from crf_helpers import make_image, make_probabilities
image, p = make_image(61, 83), make_probabilities(45, 61, 83) ** 4
for mode in 'all', 'adaptive', 'fast':
    DenseCRF(backend='native', mode=mode)(image, p / p.sum(0))
    DenseCRF.from_features(np.random.default_rng(0).normal(0, 2, (4, 61 * 83)), w=3, mode=mode)(p / p.sum(0))
    DenseCRF(backend='native', mode=mode, input='logits', normalization='no', pos_w=1e3)(image, p)
for kernel in DenseCRF(pos_xy_std=0.7).kernels:
    for normalization in native.NORMALIZATIONS:
        for height, width in (61, 83), (1, 1), (3, 40), (61, 2):
            filters = native.Filter(np.ascontiguousarray(image[:height, :width]), kernel, normalization)
            for row in 8, 16, 24, 32:
                rows = np.ones((-(-height * width // 16) * 16, row), np.float32)
                assert np.isfinite(filters(rows) + filters(rows, True)).all()
print(native.instruction_set(), 'clean')
"""


@pytest.mark.skipif(sys.platform != 'linux' or not shutil.which('g++'), reason='needs g++ and its sanitizers')
def test_sanitizers_find_nothing(tmp_path):
    """Address and undefined-behaviour sanitizers on fuzzed problems, with every instruction set there is."""
    runtime = [
        subprocess.run(['g++', f'-print-file-name={name}'], capture_output=True, text=True).stdout.strip()
        for name in ('libasan.so', 'libstdc++.so')
    ]
    if not all(Path(path).is_file() for path in runtime):
        pytest.skip('this g++ has no sanitizers')
    setup = (ROOT / 'setup.py').read_text()
    sources = re.search(r"for name in \(('lattice'.*?)\)\]", setup).group(1).replace("'", '').split(', ')
    flags = ['g++', '-std=c++17', '-O0', '-g1', '-fPIC', '-Wno-psabi', '-w']
    flags += ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
    kinds = {'baseline': []}
    if 'avx512dq' in Path('/proc/cpuinfo').read_text():
        vectors = ['-mavx2', '-mfma', '-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl']
        kinds = {'baseline': [], 'avx2': vectors[:2], 'avx512': vectors}
    elif 'avx2' in Path('/proc/cpuinfo').read_text():
        kinds['avx2'] = ['-mavx2', '-mfma']
    folder, commands, objects = ROOT / 'mmseg_deeplab/crf/native', [], []
    # The table of instruction sets is one: those not built here are those of the baseline under their names.
    for kind in ('baseline', 'avx2', 'avx512'):
        for name in 'elevate', 'kernels':
            objects.append(str(tmp_path / f'{name}_{kind}.o'))
            contract = '-ffp-contract=' + ('off' if name == 'elevate' else 'fast')
            commands.append([*flags, *kinds.get(kind, []), f'-DDCRF_ISA={kind}', contract, '-c'])
            commands[-1] += [str(folder / f'{name}.cpp'), '-o', objects[-1]]
    for name in sources:
        objects.append(str(tmp_path / f'{name}.o'))
        commands.append([*flags, '-c', str(folder / f'{name}.cpp'), '-o', objects[-1]])
    for command in commands:
        subprocess.run(command, check=True)
    library = tmp_path / 'sanitized.so'
    subprocess.run([*flags, '-shared', *objects, '-o', str(library)], check=True)
    for kind in kinds:
        run = subprocess.run(
            [sys.executable, '-c', SANITIZED, library, str(Path(__file__).parent), '12'],
            env={
                **os.environ,
                'LD_PRELOAD': ':'.join(runtime),
                'ASAN_OPTIONS': 'detect_leaks=0',
                'DCRF_ISA': kind,
                'PYTHONPATH': str(ROOT),
            },
            capture_output=True,
            text=True,
        )
        assert run.stdout.strip() == f'{kind} clean', run.stderr[-4000:]


GROWTH = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import torch
from mmseg_deeplab.crf import DenseCRF, DenseCRFLayer
from test_native import random_problem
import resource
layer = DenseCRFLayer(iterations=2)
problems = [random_problem(np.random.default_rng(seed)) for seed in range(25)]
crfs = [DenseCRF(**parameters, mode=mode) for parameters, _, _ in problems for mode in ('all', 'adaptive', 'fast')]
def rss():
    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()
def run(numbers):
    for number in numbers:
        crf = crfs[number % len(crfs)]
        image, p = problems[number % len(crfs) // 3][1:]
        crf(image, p)
        if image.shape[2] == 3:
            layer([image], [torch.from_numpy(p).requires_grad_()])[0].sum().backward()
calls = int(sys.argv[1])
with ThreadPoolExecutor(3) as pool:
    list(pool.map(run, [range(k, calls // 5, 3) for k in range(3)]))
    before = rss()
    list(pool.map(run, [range(calls // 5 + k, calls, 3) for k in range(3)]))
    print((rss() - before) / 2**20)
"""


@needs_kernel
@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_many_calls_take_no_more_memory():
    """In three threads, of all modes and mixed sizes; 10,000 calls with CRF_CALLS=10000.

    A leaked small array a call would show at once.
    """
    calls = os.environ.get('CRF_CALLS', '2000')
    run = subprocess.run(
        [sys.executable, '-c', GROWTH, calls],
        env={**os.environ, 'PYTHONPATH': f'{ROOT}:{Path(__file__).parent}', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 4


@needs_kernel
def test_memory_of_many_sizes_is_bounded():
    """Position lattices of every size seen are kept up to 64 MiB, contexts up to 512 MiB."""
    for size in range(200, 600, 25):
        DenseCRF(iterations=1, bi_w=0)(make_image(size, size), make_probabilities(2, size, size))
    assert 0 < native.cached_bytes() <= 64 << 20
    assert native.idle_bytes() <= 512 << 20


@needs_kernel
def test_messages_beyond_all_numbers_are_computed_by_logarithms():
    image, p = make_image(31, 33), make_probabilities(5, 31, 33)
    parameters = dict(iterations=4, pos_w=30, bi_w=200, bi_xy_std=30, bi_rgb_std=40, normalization='no')
    expected = DenseCRF(**parameters, backend='torch', mode='all')(image, p)
    for mode in 'all', 'adaptive', 'fast':
        q = DenseCRF(**parameters, mode=mode)(image, p)
        assert np.isfinite(q).all()
        assert (q.argmax(0) == expected.argmax(0)).mean() > 0.99


def test_without_the_kernel_torch_is_used_and_said_once(monkeypatch):
    from mmseg_deeplab.crf import dense_crf

    image, p = make_image(9, 8), make_probabilities(3, 9, 8)
    expected = DenseCRF(backend='torch')(image, p)
    monkeypatch.setattr(native, 'is_available', lambda: False)
    dense_crf._say_torch.cache_clear()
    with pytest.warns(UserWarning, match='native kernel was not built') as told:
        for _ in range(3):
            np.testing.assert_array_equal(DenseCRF()(image, p), expected)
    assert len([w for w in told if 'native' in str(w.message)]) == 1
    with pytest.raises(ValueError, match="backend='native', but the native kernel was not built"):
        DenseCRF(backend='native')
    assert torch.is_tensor(DenseCRF(backend='torch')(image, torch.from_numpy(p)))


DIRTY = """
import ctypes, sys
import numpy as np
from mmseg_deeplab.crf import DenseCRF, native
from test_native import random_problem
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def dirty():
    native._IDLE_BYTES = 0  # every call takes its memory anew
    blocks = [libc.malloc(size) for size in [100, 1000, 5000, 20000, 60000, 200000, 10**6] * 20]
    for size, block in zip([100, 1000, 5000, 20000, 60000, 200000, 10**6] * 20, blocks):
        ctypes.memset(block, 0xFF, size)  # NaN
    for block in blocks:
        libc.free(block)
for seed in range(40):
    parameters, image, p = random_problem(np.random.default_rng(seed))
    for mode in 'all', 'adaptive', 'fast':
        crf = DenseCRF(**parameters, mode=mode)
        answers = []
        for _ in range(3):
            dirty()
            answers.append(crf(image, p))
        assert all((answer == answers[0]).all() for answer in answers), (seed, mode)
        native._IDLE_BYTES = 1 << 30
        crf(image, p)
        assert (crf(image, p) == answers[0]).all(), (seed, mode)
print('clean')
"""


@needs_kernel
@pytest.mark.skipif(sys.platform != 'linux', reason='fills memory of glibc')
def test_what_memory_held_before_does_not_matter():
    run = subprocess.run(
        [sys.executable, '-c', DIRTY],
        env={
            **os.environ,
            'PYTHONPATH': f'{ROOT}:{Path(__file__).parent}',
            'OMP_NUM_THREADS': '1',
        },
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == 'clean', run.stderr[-2000:]


@needs_kernel
@pytest.mark.parametrize('mode', ['adaptive', 'fast'])
def test_where_nothing_can_be_left_out_the_mode_is_all(mode):
    """Nothing is frozen and every class stays: the same sums in the same order, so no mode costs more than 'all'."""
    image, p = make_image(90, 110), make_probabilities(21, 90, 110) ** 0.1
    p /= p.sum(0)
    answers, reports = {}, {}
    for each in 'all', mode:
        reports[each] = {}
        crf = DenseCRF(mode=each, pos_w=0.3, bi_w=0.4)
        run = native.mean_field(image, p, crf.kernels, 10, 'symmetric', each, 1e-5, report=reports[each])
        answers[each] = list(run)[-1]
    np.testing.assert_array_equal(answers[mode], answers['all'])
    assert reports[mode]['fewer pixels'] == 0


@needs_kernel
@pytest.mark.parametrize('bi_w', [10, 13, 20, 40])
def test_heavy_weights_freeze_no_pixel_that_still_changes(bi_w):
    """Messages of heavy weights overturn pixels that light ones would leave alone."""
    for seed in range(4):
        image, p = make_image(64, 83, seed), make_probabilities(5, 64, 83, seed) ** 2
        p /= p.sum(0)
        parameters = dict(pos_w=3, pos_xy_std=3, bi_w=bi_w, bi_xy_std=80, bi_rgb_std=13)
        fast, every = (DenseCRF(**parameters, mode=mode)(image, p).argmax(0) for mode in ('fast', 'all'))
        assert (fast == every).mean() > 0.9999
