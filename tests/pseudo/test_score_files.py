"""Layouts of activation maps as other code bases write them, and files that are none."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from mmseg_deeplab.checkpoints.numpy_file import read_numpy
from mmseg_deeplab.datasets.masks import write_mask
from mmseg_deeplab.errors import UserError, UserFileNotFoundError
from mmseg_deeplab.pseudo import read_maps

MAPS = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 24


def saved(tmp_path, content, name='a.npy'):
    np.save(tmp_path / name, content, allow_pickle=True)
    return tmp_path / name


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64, '>f4'])
def test_arrays(tmp_path, dtype):
    for path in (saved(tmp_path, MAPS.astype(dtype)), tmp_path / 'a.npz', tmp_path / 'b.npz'):
        if path.name == 'a.npz':
            np.savez(path, MAPS.astype(dtype))
        if path.name == 'b.npz':
            np.savez_compressed(path, probabilities=MAPS.astype(dtype), classes=['dog', 'cat'])
        found = read_maps(path)
        assert found.keys is None and not found.keyed
        assert found.maps.dtype == np.float32
        np.testing.assert_allclose(found.maps, MAPS.astype(dtype), rtol=1e-6)


@pytest.mark.parametrize('keys', [torch.tensor([7, 14]), np.array([7, 14]), [7, 14]])
@pytest.mark.parametrize('maps', [MAPS, torch.from_numpy(MAPS.copy()), torch.from_numpy(MAPS.copy()).half()])
def test_a_dict_with_keys(tmp_path, keys, maps):
    """As IRN and AdvCAM write it: keys and strided maps are tensors, the large ones an array, which counts."""
    path = saved(tmp_path, {'keys': keys, 'cam': torch.zeros(2, 1, 1), 'high_res': maps})
    found = read_maps(path)
    assert found.keyed and found.keys.tolist() == [7, 14]
    np.testing.assert_allclose(found.maps, MAPS, atol=1e-3)
    assert read_maps(saved(tmp_path, {'keys': keys, 'cam': maps})).maps.shape == (2, 3, 4)
    assert read_maps(saved(tmp_path, {'keys': keys, 'attn_highres': maps})).maps.shape == (2, 3, 4)


@pytest.mark.parametrize('kind', [dict, OrderedDict])
def test_a_dict_by_class(tmp_path, kind):
    """As PSA and SEAM write it; numpy's own numbers are keys, too."""
    found = read_maps(saved(tmp_path, kind({7: MAPS[0], np.int64(14): MAPS[1]})))
    assert found.keys.tolist() == [7, 14] and not found.keyed
    np.testing.assert_array_equal(found.maps, MAPS)
    np.savez(tmp_path / 'a.npz', **{'7': MAPS[0], '14': MAPS[1]})
    np.testing.assert_array_equal(read_maps(tmp_path / 'a.npz').maps, MAPS)
    empty = read_maps(saved(tmp_path, {}))
    assert empty.maps.shape[0] == 0 and empty.keys.tolist() == []


def test_labels(tmp_path):
    labels = np.array([[0, 7, 255]], np.uint8)
    write_mask(tmp_path / 'a.png', labels)
    np.testing.assert_array_equal(read_maps(tmp_path / 'a.png'), labels)


class Bad:
    def __reduce__(self):
        return eval, ("open('/tmp/pwned', 'w')",)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'keys': [1], 'high_res': Bad()}, r'refused: it holds Python objects .*eval'),
        ([Bad()], r'refused: it holds Python objects .*eval'),
        (np.array([{1: MAPS[0]}, None], object), r'refused: it holds an array of Python objects'),
        ({'keys': np.array([1]), 'high_res': MAPS}, r'2 maps, but its keys are int64 \(1,\)'),
        ({'keys': np.array([1.0, 2.0]), 'high_res': MAPS}, r'2 maps, but its keys are float64'),
        ({'keys': [1, 2]}, r'holds a dict of keys: maps beside keys are called high_res'),
        ({'a': MAPS, 'b': MAPS}, r'holds a dict of a, b, which is no layout of scores'),
        ({1: MAPS[0], 2: MAPS[0, :2]}, r'maps of several sizes, \[\(2, 4\), \(3, 4\)\]'),
        ({1: MAPS}, r'map 1 is float32 \(2, 3, 4\), expected numbers \(height, width\)'),
        (MAPS[0], r'the array is float32 \(3, 4\), expected numbers \(classes, height, width\)'),
        (MAPS * np.nan, r'holds NaN, infinite or too large numbers'),
        (MAPS.astype(np.float64) * 1e300, r'holds NaN, infinite or too large numbers'),
        (MAPS.astype(complex), r'the array is complex128|no archive|damaged'),
        ({'keys': [[1], [1, 2]], 'cam': MAPS}, r'2 maps, but its keys are'),
        ('text', r'the array is <U4 \(\)'),
    ],
)
def test_what_is_no_layout_is_named(tmp_path, content, message):
    path = saved(tmp_path, content)
    with pytest.raises(UserError, match=message) as error:
        read_maps(path)
    assert str(path) in str(error.value)


def test_damaged_files(tmp_path):
    whole = saved(tmp_path, {'keys': torch.tensor([1, 2]), 'high_res': MAPS}).read_bytes()
    for length in (0, 5, 40, 130, len(whole) // 2, len(whole) - 1):
        (tmp_path / 'cut.npy').write_bytes(whole[:length])
        with pytest.raises(UserError, match=r'cut\.npy is (damaged|refused)'):
            read_maps(tmp_path / 'cut.npy')
    rng = np.random.default_rng(0)
    for _ in range(300):  # no other error, whatever is wrong
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        (tmp_path / 'odd.npy').write_bytes(data)
        try:
            read_maps(tmp_path / 'odd.npy')
        except UserError as error:
            assert 'odd.npy' in str(error)
    with pytest.raises(UserFileNotFoundError, match=r'none\.npy does not exist'):
        read_maps(tmp_path / 'none.npy')


def test_a_small_file_can_not_ask_for_much_memory(tmp_path):
    header = saved(tmp_path, {}).read_bytes().partition(b'\n')[0] + b'\n'
    # builtins.bytearray(2 ** 40), and lists that double their content fifty times
    doubling = b'\x80\x02]q\x00(' + b'K\x00' * 64 + b'e' + b''.join(b'h%c2' % 0 for _ in ()) + b'.'
    assert pickle.loads(doubling) == [0] * 64
    nested = b'\x80\x02K\x00' + b''.join(b'q%c(h%ch%cl' % (i, i, i) for i in range(50)) + b'.'
    for body in (b'cbuiltins\nbytearray\n(L%dL\ntR.' % 2**40, nested):
        (tmp_path / 'b.npy').write_bytes(header + body)
        with pytest.raises(UserError, match='refused|damaged'):
            read_numpy(tmp_path / 'b.npy')
