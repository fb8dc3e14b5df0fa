"""The TensorFlow release's own files are read as they are, whole or not at all, and within bounds."""

import gzip
import io
import tarfile
import tracemalloc

import numpy as np
import pytest
import torch
from source_networks import IMAGE
from tensorflow_files import (
    chunk,
    crc32c,
    entry,
    node,
    shape_message,
    table,
    tensor_message,
    whole,
    write_bundle,
    write_graph,
)  # fmt: skip
from test_convert_tensorflow import TensorFlow, half_mobilenet_v3

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.bundle_file import read_bundle
from mmseg_deeplab.checkpoints.sources import read_source
from mmseg_deeplab.checkpoints.tf_format import crc32c as fast_crc32c
from mmseg_deeplab.cli import main
from mmseg_deeplab.errors import UserError

rng = np.random.default_rng(0)
ARRAYS = {
    **{f'conv_{i}/weights': rng.random((3, 3, 2, i + 1), np.float32) for i in range(8)},
    **{f'conv_{i}/BatchNorm/gamma': rng.random(i + 1, np.float32) for i in range(8)},
    'global_step': np.array(30000, np.int64),
    'half/weights': rng.random((2, 2)).astype(np.float16),
    'double/weights': rng.random((2, 2)),
}


def same(found, wanted):
    assert {name: value.tolist() for name, value in found.items()} == {n: v.tolist() for n, v in wanted.items()}
    assert all(tuple(found[name].shape) == wanted[name].shape for name in wanted)


@pytest.mark.parametrize('size', [0, 1, 9, 31, 32, 33, 1000, 65537])
def test_the_checksum(size):
    assert fast_crc32c(b'123456789') == 0xE3069283  # the check value of CRC-32C
    assert fast_crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    data = np.random.default_rng(size).bytes(size)
    assert fast_crc32c(data) == crc32c(data)


@pytest.mark.parametrize('shards', [1, 3])
@pytest.mark.parametrize('given', ['model.ckpt-3', 'model.ckpt-3.index', 'model.ckpt-3.data-00000-of-0000{}'])
def test_a_checkpoint(shards, given, tmp_path):
    write_bundle(tmp_path / 'model.ckpt-3', ARRAYS, shards, strings=['_CHECKPOINTABLE_OBJECT_GRAPH'])
    same(read_source(tmp_path / given.format(shards)).state, ARRAYS)


def test_names_and_types_of_tensorflow_2(tmp_path):
    array = np.array([1.5, -2, 3e38], np.float32)
    name = 'layer/kernel/.ATTRIBUTES/VARIABLE_VALUE'
    write_bundle(tmp_path / 'ckpt-1', {name: array}, bfloat16=[name])
    found = read_bundle(tmp_path / 'ckpt-1.index')
    assert found.keys() == {'layer/kernel'}
    assert found['layer/kernel'].tolist() == [1.5, -2, (array[2:].view(np.uint32) >> 16 << 16).view(np.float32)[0]]


def damage(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize('at', [3, 100, 400, -60])
def test_a_damaged_index(at, tmp_path):
    write_bundle(tmp_path / 'm', ARRAYS)
    damage(tmp_path / 'm.index', at)
    with pytest.raises(UserError, match=r'm\.index \(\d+ bytes\) is cut short or damaged: '):
        read_source(tmp_path / 'm')


def test_damaged_values(tmp_path):
    write_bundle(tmp_path / 'm', ARRAYS)
    damage(tmp_path / 'm.data-00000-of-00001', 50)
    with pytest.raises(UserError, match=r'damaged: conv_\d.* is not what was written: its checksum differs'):
        read_source(tmp_path / 'm')


@pytest.mark.parametrize('share', [0.01, 0.5, 0.99])
@pytest.mark.parametrize('part', ['index', 'data-00000-of-00001'])
def test_cut_files(share, part, tmp_path):
    write_bundle(tmp_path / 'm', ARRAYS)
    file = tmp_path / f'm.{part}'
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r'cut short|damaged'):
        read_source(tmp_path / 'm.index')


def test_missing_parts(tmp_path):
    write_bundle(tmp_path / 'm', ARRAYS)
    (tmp_path / 'm.data-00000-of-00001').rename(tmp_path / 'n.data-00000-of-00001')
    with pytest.raises(FileNotFoundError, match=r'm\.data-00000-of-00001 is not there'):
        read_source(tmp_path / 'm.index')
    with pytest.raises(FileNotFoundError, match=r'n\.index is not beside it'):
        read_source(tmp_path / 'n.data-00000-of-00001')
    with pytest.raises(UserError, match='of TensorFlow: convert it'):
        load_file(tmp_path / 'm')


HEADER = (b'', whole(1, 1))
ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    'pairs, message',
    [
        ([HEADER, (b'a', entry(ONE, 0, 0, bytes(4)) + chunk(7, b''))], 'a in slices'),
        ([HEADER, (b'a', entry(ONE, 0, 2**50, bytes(4)))], 'beyond the end'),
        ([HEADER, (b'a', entry(ONE, 0, 0, bytes(2)))], r'a \(1,\) of .* in 2 bytes'),
        ([HEADER, (b'a', entry(np.ones((0, 2**40), np.float32), 0, 0, b''))], None),
        ([HEADER, (b'a', entry(ONE, 0, 0, bytes(4), 8))], 'number 8 of TensorFlow'),
        ([HEADER, (b'a', entry(ONE, 7, 0, bytes(4)))], 'data-00007-of-00001 is not there'),
        ([HEADER, (b'b', b''), (b'a', b'')], 'not in order'),
        ([(b'a', b'')], 'none of a TensorFlow checkpoint since 2016'),
        ([HEADER, (b'a', b'\x0c')], 'unknown kind 4'),
        ([HEADER, (b'a', b'\x0a\xff')], 'no end|beyond the end'),
        ([HEADER, (b'\xff', b'')], 'no text'),
    ],
)
def test_tables_that_contradict_themselves(pairs, message, tmp_path):
    (tmp_path / 'm.data-00000-of-00001').write_bytes(bytes(4))
    (tmp_path / 'm.index').write_bytes(table(pairs))
    if message is None:
        return same(read_source(tmp_path / 'm').state, dict(a=np.ones((0, 2**40), np.float32)))
    with pytest.raises(UserError, match=message):
        read_source(tmp_path / 'm')


def test_a_compressed_table(tmp_path):
    (tmp_path / 'm.index').write_bytes(table([HEADER], compression=1))
    with pytest.raises(UserError, match='compressed index'):
        read_source(tmp_path / 'm')


def test_one_file_referred_to_by_many(tmp_path):
    """A small file that many variables are views of would need many times its size."""
    data = bytes(2**20)
    (tmp_path / 'm.data-00000-of-00001').write_bytes(data)
    big = np.zeros(2**18, np.float32)
    one = entry(big, 0, 0, data)
    (tmp_path / 'm.index').write_bytes(table([HEADER, *((f'v{i:04}'.encode(), one) for i in range(200))]))
    with pytest.raises(UserError, match='many times the size of the file'):
        read_source(tmp_path / 'm')


FLOATS = {name: value for name, value in ARRAYS.items() if value.dtype == np.float32}


@pytest.mark.parametrize('how', ['content', 'values'])
@pytest.mark.parametrize('read', [True, False])
def test_a_frozen_graph(how, read, tmp_path):
    arrays = {**FLOATS, 'zero/biases': np.zeros(5, np.float32)}
    write_graph(tmp_path / 'frozen_inference_graph.pb', arrays, how, read)
    same(read_source(tmp_path / 'frozen_inference_graph.pb').state, arrays)


@pytest.mark.parametrize('dtype', ['float16', 'int32'])
def test_other_numbers_in_a_graph(dtype, tmp_path):
    arrays = {'a/weights': np.array([[1, -2], [3, 3]], dtype), 'b/weights': ONE}
    write_graph(tmp_path / 'g.pb', arrays, 'values')
    same(read_source(tmp_path / 'g.pb').state, arrays)


@pytest.mark.parametrize(
    'content, message',
    [
        (node('a/weights', 'Const', value=tensor_message(ONE))[:-3], 'damaged'),
        (node('x', 'VariableV2'), 'a graph without weights'),
        (b'just text', 'damaged'),
        (node('a/weights', 'Const'), 'without a value'),
        (node('a/weights', 'Const', value=whole(1, 1) + chunk(2, shape_message((3,)))), '0 values'),
        (
            node('a/weights', 'Const', value=whole(1, 1) + chunk(2, shape_message((2**40,))) + chunk(5, bytes(4))),
            'many times the size',
        ),
        (node('a/weights', 'Const', value=tensor_message(ONE)[:-1] + b'xx'), 'damaged'),
        (node('a/weights', 'Const', value=tensor_message(ONE)) * 2, 'two operations are called a/weights'),
        (whole(1, 5), 'a number in the place of bytes'),
        (b'\n\x00' * 3_000_000, 'many times the size|two operations'),
        (node('a/weights', 'Const', value=tensor_message(np.full(2, np.nan, np.float32))), 'not finite'),
    ],
)  # fmt: skip
def test_graphs_that_are_none(content, message, tmp_path):
    (tmp_path / 'g.pb').write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_source(tmp_path / 'g.pb')


def packed(path, folder, mode='w:gz'):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, folder.name)
    return path


@pytest.fixture
def release(tmp_path):
    """What a tarball of the release holds: a checkpoint, the frozen graph of it, notes of another system."""
    folder = tmp_path / 'deeplabv3_x'
    folder.mkdir()
    write_bundle(folder / 'model.ckpt-30000', ARRAYS)
    write_graph(folder / 'frozen_inference_graph.pb', FLOATS)
    (folder / '._model.ckpt-30000.index').write_bytes(b'x')
    (folder / 'model.ckpt-30000.meta').write_bytes(b'x')
    return folder


@pytest.mark.parametrize('mode', ['w:gz', 'w:bz2', 'w:xz', 'w'])
def test_archives(mode, release, tmp_path):
    same(read_source(packed(tmp_path / 'a.tar.x', release, mode)).state, ARRAYS)
    for file in release.glob('*ckpt*'):
        file.unlink()
    same(read_source(packed(tmp_path / 'a.tar.x', release, mode)).state, FLOATS)
    (release / 'frozen_inference_graph.pb').unlink()
    with pytest.raises(UserError, match=r'a\.tar\.x: it is an archive without a checkpoint'):
        read_source(packed(tmp_path / 'a.tar.x', release, mode))


def test_archives_with_several(release, tmp_path):
    (release / 'other').mkdir()
    write_bundle(release / 'other/model.ckpt-30000', ARRAYS)
    wanted = 'unpack it and give one of deeplabv3_x/model.ckpt-30000.index, deeplabv3_x/other/model.ckpt-30000.index'
    with pytest.raises(UserError, match=f'it holds 2 checkpoints: {wanted}'):
        read_source(packed(tmp_path / 'a.tar.gz', release))


def test_a_damaged_archive(release, tmp_path):
    data = packed(tmp_path / 'a.tar.gz', release).read_bytes()
    for content in (
        data[:-200],
        data[:100] + b'xxxx' + data[104:],
        gzip.compress(b'no tar' * 200),
        b'BZh9xx',
        data[:8],
    ):
        (tmp_path / 'a.tar.gz').write_bytes(content)
        with pytest.raises(UserError, match=r'a\.tar\.gz.*(damaged|without a checkpoint|a text)'):
            read_source(tmp_path / 'a.tar.gz')
    damage(release / 'model.ckpt-30000.data-00000-of-00001', 60)
    with pytest.raises(UserError, match=r'a\.tar\.gz: in it, 0/model\.ckpt-30000\.index .*checksum differs'):
        read_source(packed(tmp_path / 'a.tar.gz', release))


def member(name, content=b'', kind=tarfile.REGTYPE, link='', size=None):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content) if size is None else size, kind, link
    return info, content


def test_archives_write_nowhere_else(release, tmp_path, monkeypatch):
    """Paths that lead elsewhere, and links, in an archive: nothing but the checkpoint gets to a folder of our own."""
    (tmp_path / 'temporary').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'temporary'))
    write_bundle(tmp_path / 'm', FLOATS)
    index, data = ((tmp_path / f'm.{end}').read_bytes() for end in ('index', 'data-00000-of-00001'))
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        for info, content in (
            member('../../evil.pth/x', b'x'),
            member('/etc/evil', b'x'),
            member('link', kind=tarfile.SYMTYPE, link='/etc'),
            member('link/evil.pth', kind=tarfile.LNKTYPE, link='/etc/passwd'),
            member('../m.index', index),
            member('../m.data-00000-of-00001', data),
        ):
            archive.addfile(info, io.BytesIO(content))
    before = sorted(tmp_path.rglob('*'))
    same(read_source(tmp_path / 'a.tar').state, FLOATS)
    assert sorted(tmp_path.rglob('*')) == before


def test_archives_that_unpack_to_much(tmp_path):
    """100 MiB of zeros of 4 GiB, as a checkpoint, as something else, and as the long name of a file."""
    block = bytes(2**20)
    for kind, name in ((tarfile.REGTYPE, 'a.pth'), (tarfile.REGTYPE, 'a.txt'), (tarfile.XHDTYPE, 'x')):
        with gzip.open(tmp_path / 'bomb.tar.gz', 'wb', compresslevel=1) as file:
            file.write(member(name, kind=kind, size=2**32)[0].tobuf(tarfile.GNU_FORMAT))
            for _ in range(100):
                file.write(block)
        tracemalloc.start()
        with pytest.raises(UserError, match='many times the size of the file'):
            read_source(tmp_path / 'bomb.tar.gz')
        assert tracemalloc.get_traced_memory()[1] < 300e6
        tracemalloc.stop()


@torch.no_grad()
def test_one_command(tmp_path, capsys):
    """A tarball, a checkpoint, a graph and an npz of the same variables become the same weights."""
    net = TensorFlow()
    half_mobilenet_v3(net, IMAGE)
    arrays = {name: value.numpy() for name, value in net.state.items()}
    folder = tmp_path / 'deeplab'
    folder.mkdir()
    write_bundle(folder / 'model.ckpt-1', {**arrays, 'global_step': np.array(1, np.int64)})
    write_graph(tmp_path / 'frozen.pb', arrays)
    np.savez(tmp_path / 'variables.npz', **arrays)
    packed(tmp_path / 'deeplab.tar.gz', folder)
    states = []
    for source in ('deeplab.tar.gz', 'deeplab/model.ckpt-1', 'frozen.pb', 'variables.npz'):
        main(['convert', str(tmp_path / source), str(tmp_path / 'out.pth')])
        assert 'all that the model has' in capsys.readouterr().out
        states.append(load_file(tmp_path / 'out.pth')['state_dict'])
    for state in states[:-1]:
        assert state.keys() == states[-1].keys()
        assert all(torch.equal(state[name], states[-1][name]) for name in state)
