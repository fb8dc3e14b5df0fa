"""What is no checkpoint is named for what it is, with what to do."""

import bz2
import gzip
import lzma
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from tensorflow_files import chunk, table, write_graph
from torch import nn

from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.sources import read_source
from mmseg_deeplab.cli.configure import load_config
from mmseg_deeplab.errors import UserError


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('a.pdparams', pickle.dumps({}, 4), 'PaddlePaddle.*numpy.savez'),
        ('a.h5', b'\x89HDF\r\n\x1a\n' + b'x' * 100, 'HDF5 file, as Keras'),
        ('a.pth', b'\x89HDF\r\n\x1a\n' + b'x' * 100, 'HDF5 file, as Keras'),
        ('frozen_inference_graph.pb', b'\n\x05node', 'graph of TensorFlow'),
        ('vgg16_20M.caffemodel', b'\n\x05', 'model of Caffe'),
        ('net.prototxt', b'name: "x"', 'Caffe network, without its weights'),
        ('net.mat', b'MATLAB 5.0 MAT-file', 'MATLAB'),
        ('model.onnx', b'\x08\x07', 'ONNX'),
        ('model.ckpt.index', b'xx', 'index of a TensorFlow checkpoint'),
        ('model.ckpt.data-00000-of-00001', b'xx', 'variables of a TensorFlow checkpoint'),
        ('a.npz', b'PK', 'archive of numpy arrays.*convert_checkpoint'),
        ('config.py', b'model = dict()', 'a config, not a checkpoint.*CONFIG CHECKPOINT'),
        ('a.pth', b'version https://git-lfs.github.com/spec/v1\n', 'pointer of Git LFS.*git lfs pull'),
        ('a.pth', b'\n <!DOCTYPE html><html>', 'web page'),
        ('a.pth', b'<?xml version="1.0"?><Error>', 'web page'),
        ('a.pth', gzip.compress(b'x', mtime=0), 'an archive.*unpack'),
        ('a.pth', b'\x89PNG\r\n', 'a picture'),
        ('a.pth', b'just text', 'a text, not weights: look into it'),
        ('a.pth', b'{"message": "Not Found"}', 'a text, not weights'),
        ('a.pth', b'_base_ = []\n' * 99, 'a text, not weights'),
        ('a.pth', ('outs: ' + 'é' * 600).encode(), 'a text, not weights'),
        ('events.out.tfevents.1.host', b'\x18' + bytes(30), 'a log of TensorBoard'),
        ('pytorch_model.bin.index.json', b'{}', 'index of a checkpoint in several files'),
        ('saved_model.pb', b'\x08\x01\x12\x05xxxxx', 'the program of a SavedModel.*variables.index'),
        ('a.pth', b'\x08\x0e\x12\x06mytool\x1a\x011:3\n', 'an ONNX program'),
        ('a.pth', b'\x08\x0e:3\n', 'an ONNX program'),
        ('flax_model.bin', b'\x81\xa6params\x81\xa5conv1', 'a checkpoint of Flax'),
        ('a.pth', b'RIFFxxxxWEBP', 'a picture'),
        ('a.pth', pickle.dumps(dict(a=1), 2), 'a pickle that PyTorch did not write'),
        ('a.pth', pickle.dumps(dict(a=1), 4), 'a pickle that PyTorch did not write'),
    ],
)
def test_files_of_other_kinds(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf'(?s){name}.*{message}'):
        load_file(tmp_path / name)


def test_archives(tmp_path):
    (tmp_path / 'inner.txt').write_text('x')
    with tarfile.open(tmp_path / 'a.pth.tar', 'w') as archive:
        archive.add(tmp_path / 'inner.txt', 'inner.txt')
    with pytest.raises(UserError, match='an archive: unpack it'):
        load_file(tmp_path / 'a.pth.tar')
    torch.save(dict(w=torch.ones(1)), tmp_path / 'b.pth.tar')  # a custom of ImageNet's trainings: no tar at all
    assert load_file(tmp_path / 'b.pth.tar')['w'] == 1
    np.savez(tmp_path / 'c.pth.npz', a=np.zeros(1))
    (tmp_path / 'c.pth.npz').rename(tmp_path / 'c.pth')
    with pytest.raises(UserError, match='a zip archive that PyTorch did not write'):
        load_file(tmp_path / 'c.pth')


@pytest.mark.filterwarnings('ignore')
def test_programs(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2)), tmp_path / 'script.pt')
    with pytest.raises(UserError, match=r'script\.pt is refused: it holds a TorchScript program.*torch.jit.load'):
        load_file(tmp_path / 'script.pt')


def test_folders(tmp_path):
    with pytest.raises(UserError, match=r'is a folder, not a checkpoint: it holds no \.pth'):
        load_file(tmp_path)
    (tmp_path / 'iter_2.pth').touch()
    (tmp_path / 'iter_10.pth').touch()
    with pytest.raises(UserError, match=r'give a file in it, iter_2\.pth or iter_10\.pth'):
        load_file(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('/somewhere/iter_10.pth')
    with pytest.raises(UserError, match=r'give a file in it, iter_10\.pth$'):
        load_file(tmp_path)
    (tmp_path / 'saved_model.pb').touch()
    with pytest.raises(UserError, match='SavedModel of TensorFlow'):
        load_file(tmp_path)


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    with pytest.raises(UserError, match='no regular file'):
        load_file(tmp_path / 'pipe.pth')
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'nothing.pth')
    with pytest.raises(UserError, match='there is no checkpoint'):
        load_file(tmp_path / 'link.pth')
    (tmp_path / 'model.ckpt.index').touch()
    with pytest.raises(UserError, match='there is no checkpoint .*model.ckpt, but one of TensorFlow'):
        load_file(tmp_path / 'model.ckpt')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_unreadable_files(tmp_path):
    torch.save({}, tmp_path / 'a.pth')
    (tmp_path / 'a.pth').chmod(0)
    with pytest.raises(UserError, match='can not be read: Permission denied'):
        load_file(tmp_path / 'a.pth')


def test_unreadable_files_of_any_user(tmp_path, monkeypatch):
    torch.save({}, tmp_path / 'a.pth')
    real = open

    def refused(path, *args, **kwargs):
        if str(path).endswith('a.pth'):
            raise PermissionError(13, 'Permission denied', str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr('builtins.open', refused)
    with pytest.raises(UserError, match=r'a\.pth can not be read: Permission denied'):
        load_file(tmp_path / 'a.pth')


CONVERT = r'convert it: python tools/convert_checkpoint\.py FILE NEW\.pth'


@pytest.mark.parametrize(
    'content, message',
    [
        (b'TFL3'.rjust(8, b'\x1c'), 'TensorFlow Lite'),
        (b'ET12'.rjust(8, b'\x1c'), 'ExecuTorch'),
        (b'\x08\x08\x12\x07pytorch\x1a\x052.1.0:', 'ONNX'),
        (b'\x08\x09\x12\x04onnx', 'ONNX'),
        (write_graph, f'graph of TensorFlow.*{CONVERT}'),
        (chunk(1, b'VGG16') + chunk(100, chunk(1, b'conv1') + chunk(2, b'Convolution') + chunk(3, b'data')), 'Caffe'),
        (chunk(1, b'VGG16') + chunk(2, chunk(4, b'conv1_1') + chunk(2, b'x')), 'Caffe'),
        (table([(b'', b'')]), f'index of a TensorFlow checkpoint.*{CONVERT}'),
        (b'model_checkpoint_path: "m"', 'note of its latest checkpoint: give the .index'),
        (b'\x28\xb5\x2f\xfdxxxx', 'an archive: unpack it'),
        (bz2.compress(b'x'), f'an archive: unpack it.*{CONVERT}'),
        (lzma.compress(b'x'), f'an archive: unpack it.*{CONVERT}'),
        (b'PK\x05\x06' + bytes(18), 'an empty zip archive'),
        (b'MATLAB 7.3 MAT-file', 'MATLAB'),
        (b'\x12\x01' + bytes(14), 'MXNet'),
        (b'GGUF', 'GGUF'),
        (b'%PDF-1.7', 'PDF'),
        (b'GIF89a', 'a picture'),
        (b'<Error><Code>AccessDenied', 'web page'),
        (b'\xef\xbb\xbf<HTML>', 'web page'),
    ],
)
@pytest.mark.parametrize('name', ['a.pth', 'model', 'weights.bin'])
def test_contents_under_names_of_checkpoints(content, message, name, tmp_path):
    if callable(content):
        content(tmp_path / name, {'conv/weights': np.ones((2, 3), np.float32)})
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf'(?s){name} is no checkpoint of PyTorch but .*{message}') as error:
        load_file(tmp_path / name)
    assert 'damaged' not in str(error.value)


@pytest.mark.parametrize(
    'suffix',
    [*('.pdopt', '.pdmodel', '.pdiparams', '.meta', '.ort', '.plan', '.pte', '.mlmodel', '.weights', '.msgpack'),
     *('.t7', '.joblib', '.pickle', '.yaml', '.txt', '.csv', '.xml', '.jpg', '.keras', '.zip', '.rar', '.7z')],
)  # fmt: skip
def test_names_that_tell(suffix, tmp_path):
    (tmp_path / f'a{suffix}').write_bytes(b'x' * 20)
    with pytest.raises(UserError, match=r'is no checkpoint of PyTorch but [^:]+: \w+') as error:
        load_file(tmp_path / f'a{suffix}')
    assert 'damaged' not in str(error.value)


@pytest.mark.parametrize('suffix', ['.params', '.weights', '.bin', '.ckpt', '', '.safetensors', '.model', '.tar'])
@pytest.mark.parametrize('new', [True, False])
def test_the_content_counts_and_not_the_name(suffix, new, tmp_path):
    torch.save(dict(w=torch.ones(2)), tmp_path / f'a{suffix}', _use_new_zipfile_serialization=new)
    assert load_file(tmp_path / f'a{suffix}')['w'].tolist() == [1, 1]
    safetensors.torch.save_file(dict(w=torch.ones(2)), tmp_path / f'b{suffix}')
    assert load_file(tmp_path / f'b{suffix}')['w'].tolist() == [1, 1]


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('new', [True, False])
def test_every_pickle_protocol(protocol, new, tmp_path):
    content = dict(state_dict=dict(w=torch.ones(2)), array=np.arange(3), text='x' * 300, big=2**70)
    torch.save(content, tmp_path / 'a.pth', pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    found = load_file(tmp_path / 'a.pth')
    assert found['state_dict']['w'].tolist() == [1, 1] and found['array'].tolist() == [0, 1, 2]
    assert (found['text'], found['big']) == (content['text'], content['big'])


def test_protocols_to_come(tmp_path):
    """None of which may be called damage."""
    (tmp_path / 'a.pth').write_bytes(b'\x80\x09' + pickle.dumps({}, 5)[2:])
    with pytest.raises(UserError, match='refused: it holds a pickle of protocol 9, newer than'):
        load_file(tmp_path / 'a.pth')


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('content', [dict(a=1), dict(w=np.ones(3)), [1.5, 'x'], np.ones((2, 2))])
def test_pickles_of_others(protocol, content, tmp_path):
    (tmp_path / 'a.pth').write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(UserError, match='a pickle that PyTorch did not write.*convert it'):
        load_file(tmp_path / 'a.pth')


def test_what_nothing_is_known_of(tmp_path):
    for content in (bytes(50), b'\xff' * 50, b'\x01text'):
        (tmp_path / 'a.pth').write_bytes(content)
        with pytest.raises(UserError, match='damaged, or of a format that is not known here .it begins with b'):
            load_file(tmp_path / 'a.pth')
    torch.save(dict(w=torch.ones(200)), tmp_path / 'a.pth')
    (tmp_path / 'a.pth').write_bytes((tmp_path / 'a.pth').read_bytes()[:300])
    with pytest.raises(UserError, match='is cut short or damaged: '):  # its beginning tells what it was
        load_file(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'names, message',
    [
        (['m/a.npy', 'm/b.npy'], 'arrays of numpy; call it .npz'),
        (['m/readme.txt', 'm/best.pth'], 'unpack it and give the checkpoint inside; it holds best.pth'),
        (['a.txt'], 'unpack it and give the checkpoint inside; it holds a.txt'),
        (['m/config.json', 'm/model.weights.h5'], 'model of Keras'),
    ],
)
def test_zip_archives(names, message, tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        for name in names:
            archive.writestr(name, 'x')
    with pytest.raises(UserError, match=message):
        load_file(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'files, message',
    [
        (['saved_model.pb', 'keras_metadata.pb'], 'SavedModel of TensorFlow: give its variables/variables.index'),
        (['.metadata', '__0_0.distcp'], 'distributed checkpoint of PyTorch: python -m torch.distributed'),
        (['data.pkl', 'version'], 'an unpacked .pth file: pack it again'),
        (['_CHECKPOINT_METADATA', 'manifest.ocdbt'], 'Orbax'),
        (['checkpoint', 'm.index', 'm.data-00000-of-00001'], r'convert it: .*/m\.index NEW\.pth'),
        (['config.json', 'pytorch_model.bin'], 'give a file in it, pytorch_model.bin'),
        (
            ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin'],
            'in several files: save the network',
        ),
        (['readme.txt', 'model.pdparams'], r'convert it: .*/model\.pdparams NEW\.pth'),
    ],
)
def test_kinds_of_folders(files, message, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    for read in (load_file, read_source):
        with pytest.raises(UserError, match=f'is a folder, not a checkpoint: .*{message}'):
            read(tmp_path)


@pytest.mark.parametrize('suffix', ['.pdparams', '.h5', '.npz', '.pb', '.index', '.pkl', '.tar.gz', '.pth'])
@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'is empty'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'pointer of Git LFS'),
        (b'<!DOCTYPE html>', 'a web page'),
        (None, 'there is no checkpoint'),
    ],
)
def test_what_the_converters_are_given_in_the_place_of_a_file(suffix, content, message, tmp_path):
    if content is not None:
        (tmp_path / f'a{suffix}').write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_source(tmp_path / f'a{suffix}')


@pytest.mark.parametrize('name', ['iter_2.pth', 'model.safetensors', 'model.pt'])
def test_a_checkpoint_in_the_place_of_the_config(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf'{name} is a checkpoint, not a config: the config comes first'):
        load_config(tmp_path / name)
