"""Arrays by name from PaddlePaddle's, Keras' and other files: no code is run, no other file is read."""

import os
import pickle

import numpy as np
import pytest
import torch

from mmseg_deeplab.checkpoints.sources import read_source
from mmseg_deeplab.errors import UserError

ARRAYS = {'backbone.conv1.weight': np.arange(6, dtype=np.float32).reshape(2, 3), 'head.conv._mean': np.ones(2, '>f4')}


def same(found, wanted=ARRAYS):
    assert {name: value.tolist() for name, value in found.items()} == {n: v.tolist() for n, v in wanted.items()}


class Named:
    """As PaddlePaddle reduces a tensor since 2.1: to `tuple` of its name and array."""

    def __init__(self, name, array):
        self.parts = name, array

    def __reduce__(self):
        return tuple, (self.parts,)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('suffix', ['.pdparams', '.pkl', '.pickle'])
def test_pickles(protocol, suffix, tmp_path):
    path = tmp_path / f'model{suffix}'
    names = {name: f'conv2d_{i}.w_0' for i, name in enumerate(ARRAYS)}
    path.write_bytes(pickle.dumps({**ARRAYS, 'StructuredToParameterName@@': names}, protocol))
    same(read_source(path).state)
    path.write_bytes(pickle.dumps({name: Named(names[name], array) for name, array in ARRAYS.items()}, protocol))
    same(read_source(path).state)
    path.write_bytes(pickle.dumps(dict(model=ARRAYS, __author__='someone'), protocol))  # as detectron2's
    same(read_source(path).state)


class RunsCode:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize(
    'content, message',
    [
        (lambda path: pickle.dumps(dict(ARRAYS, x=RunsCode(path / 'marker'))), r'posix.mkdir.*can run code'),
        (lambda _: pickle.dumps(dict(ARRAYS, x=np.array([print])), 4), 'numpy type object'),
        (lambda _: pickle.dumps([1, 2]), 'one list, not a dict of arrays'),
        (lambda _: pickle.dumps(ARRAYS)[:-20], 'cut short or damaged'),
        (lambda _: pickle.dumps(ARRAYS) + b'x', 'more behind its end'),
        (lambda _: pickle.dumps({'UnpackBigParamInfor@@': {}}), 'parameters in pieces'),
        (lambda _: pickle.dumps({'a.b': np.full(1, np.nan)}), 'not finite'),
        (lambda _: pickle.dumps(dict(a='text')), 'holds no parameters'),
        (lambda _: b'no pickle', 'damaged'),
        (lambda _: b'\x80\x02c__builtin__\ntuple\nK\x05\x85R.', 'a tuple of what is no list'),
    ],
)
def test_pickles_that_are_none(content, message, tmp_path):
    for suffix in ('.pdparams', '.pkl'):
        (tmp_path / f'a{suffix}').write_bytes(content(tmp_path))
        with pytest.raises(UserError, match=rf'a\{suffix}.*{message}'):
            read_source(tmp_path / f'a{suffix}')
    assert not (tmp_path / 'marker').exists()


class TestHDF5:
    @pytest.fixture
    def h5py(self):
        return pytest.importorskip('h5py')

    def test_arrays_by_their_paths(self, h5py, tmp_path):
        """Keras 3 puts a layer's variables at layers/NAME/vars/NUMBER, Keras 2 at NAME/NAME/kernel:0."""
        arrays = {'layers/conv2d/vars/0': np.ones((3, 3, 1, 2), np.float32), 'layers/conv2d/vars/1': np.zeros(2, '>f8')}
        with h5py.File(tmp_path / 'model.weights.h5', 'w') as file:
            file.create_dataset('layers/conv2d/vars/0', data=arrays['layers/conv2d/vars/0'], compression='gzip')
            file['layers/conv2d/vars/1'] = arrays['layers/conv2d/vars/1']
            file['layers/input/text'] = 'x'
            file.create_group('optimizer/vars')
        same(read_source(tmp_path / 'model.weights.h5').state, arrays)
        (tmp_path / 'model.weights.h5').rename(tmp_path / 'model.pth')
        same(read_source(tmp_path / 'model.pth').state, arrays)

    def test_nothing_outside_of_the_file_is_read(self, h5py, tmp_path):
        with h5py.File(tmp_path / 'other.h5', 'w') as file:
            file['a'] = np.ones(2)
        (tmp_path / 'raw').write_bytes(bytes(16))

        def virtual(file):
            layout = h5py.VirtualLayout((2,), 'f8')
            layout[:] = h5py.VirtualSource(str(tmp_path / 'other.h5'), 'a', (2,))
            file.create_virtual_dataset('a', layout)

        def twice(file):
            file.create_group('g')['again'] = file['/']

        for make, message in (
            (lambda file: file.__setitem__('a', h5py.ExternalLink(str(tmp_path / 'other.h5'), 'a')), 'a link at a'),
            (lambda file: file.__setitem__('a', h5py.SoftLink('/b')), 'a link at a'),
            (lambda file: file.create_dataset('a', (2,), 'f8', external=str(tmp_path / 'raw')), 'another file'),
            (virtual, 'another file'),
            (twice, 'in itself or twice|many times the size'),
            (lambda file: file.create_dataset('a', (10**9,), 'f8', chunks=True, compression='gzip'), 'many times the'),
        ):
            with h5py.File(tmp_path / 'a.h5', 'w') as file:
                make(file)
            with pytest.raises(UserError, match=rf'a\.h5 is refused.*({message})'):
                read_source(tmp_path / 'a.h5')

    def test_cut_files(self, h5py, tmp_path):
        with h5py.File(tmp_path / 'a.h5', 'w') as file:
            file['layer/kernel'] = np.ones(1000)
        content = (tmp_path / 'a.h5').read_bytes()
        for size in (20, 1000, len(content) - 100):
            (tmp_path / 'a.h5').write_bytes(content[:size])
            with pytest.raises(UserError, match=r'a\.h5 .*cut short or damaged'):
                read_source(tmp_path / 'a.h5')

    def test_without_h5py(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__('sys').modules, 'h5py', None)
        (tmp_path / 'a.h5').write_bytes(b'\x89HDF\r\n\x1a\n' + bytes(100))
        with pytest.raises(ImportError, match=r"a\.h5 is an HDF5 file: pip install 'mmseg_deeplab\[h5\]'"):
            read_source(tmp_path / 'a.h5')


def test_safetensors_of_other_codebases(tmp_path):
    """Hugging Face's files have `format` alone in their metadata, and half precision."""
    from safetensors.torch import save_file

    state = {'mobilenet_v2.conv_stem.first_conv.convolution.weight': torch.ones(2, 3).half(), 'b.c': torch.ones(1)}
    save_file(state, tmp_path / 'model.safetensors', metadata=dict(format='pt'))
    found = read_source(tmp_path / 'model.safetensors').state
    assert all(torch.equal(found[name], state[name]) for name in state) and found.keys() == state.keys()
