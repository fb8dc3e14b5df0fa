"""Triton's kernel: in its interpreter against PyTorch's operations, compiled for a GPU of today, and chosen or not."""

import importlib.util
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from crf_helpers import make_image

from mmseg_deeplab.crf import DenseCRF, lattice, mean_field

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None, reason='needs triton (pip install triton)'
)

INTERPRET = """
import torch
from mmseg_deeplab.crf import lattice
from mmseg_deeplab.crf.triton_product import product

generator = torch.Generator().manual_seed(0)
built = lattice.build(torch.randn(5, 101, generator=generator) * 2)
for matrix in (*built.splat, built.blurs[2], built.slice):
    for classes, dtype in ((1, torch.float32), (21, torch.float32), (3, torch.float64)):
        matrix = matrix.to(dtype)
        rows = int(matrix.columns.max()) + 1
        values = torch.rand(rows, 2 * classes, generator=generator, dtype=dtype)[:, ::2]  # any memory layout
        found = product(matrix.offsets, matrix.columns, matrix.weights, values)
        torch.testing.assert_close(found, matrix @ values)
empty = lattice.SparseMatrix(torch.tensor([0, 0, 1, 1]), torch.tensor([2]), torch.tensor([0.5]))
found = product(empty.offsets, empty.columns, empty.weights, torch.eye(3))
assert torch.equal(found, torch.tensor([[0, 0, 0], [0, 0, 0.5], [0, 0, 0]]))
print('equal')
"""

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmseg_deeplab.crf.triton_product import ROWS, product_kernel

pointers = dict(offsets='*i32', columns='*i32', weights='*fp32', values='*fp32', out='*fp32')
signature = dict(pointers, rows='i32', width='i32', ROWS='constexpr', WIDTH='constexpr')
for width in (1, 8, 32, 256):
    source = ASTSource(fn=product_kernel, signature=signature, constexprs=dict(ROWS=ROWS, WIDTH=width))
    compiled = triton.compile(source, target=GPUTarget('cuda', 90, 32))
    assert compiled.asm['cubin'] and 'atom' not in compiled.asm['ptx']
print('compiled')
"""


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, env={**os.environ, **environment}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_triton
def test_interpreted_kernel_gives_the_products():
    assert 'equal' in run(INTERPRET, TRITON_INTERPRET='1')


@needs_triton
def test_kernel_compiles_without_atomics():
    assert 'compiled' in run(COMPILE)


def test_without_a_gpu_there_is_no_triton():
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    assert lattice._triton_product() is None


def test_a_triton_that_fails_is_named_and_left_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: SimpleNamespace())

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError('Failed to find C compiler')

    monkeypatch.setattr(torch, 'tensor', fail)
    monkeypatch.setitem(sys.modules, 'mmseg_deeplab.crf.triton_product', SimpleNamespace(product=None))
    lattice._triton_product.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r'Triton does not work here .*Failed to find C compiler'):
            assert lattice._triton_product() is None
        with warnings.catch_warnings():  # said once
            warnings.simplefilter('error')
            assert lattice._triton_product() is None
    finally:
        lattice._triton_product.cache_clear()


def test_products_on_a_gpu_go_to_triton(monkeypatch):
    from pretended_gpu import gpu

    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    called = []

    def product(offsets, columns, weights, values):
        called.append(values.shape[1])
        return torch.embedding_bag(
            values, columns, offsets, mode=0, per_sample_weights=weights, include_last_offset=True
        )[0]

    monkeypatch.setattr(lattice, '_triton_product', lambda: product)
    image = torch.from_numpy(make_image(12, 13))
    kernel = DenseCRF().kernels[1]
    expected = mean_field.batch_filter([image], kernel, 'symmetric')(torch.eye(156))
    assert not called
    with gpu():
        filtered = mean_field.batch_filter([image.to('cuda')], kernel, 'symmetric')
        found = filtered(torch.eye(156).to('cuda')).cpu().as_subclass(torch.Tensor)
    assert called.count(156) == 8 and called.count(1) == 8
    torch.testing.assert_close(found, expected)
