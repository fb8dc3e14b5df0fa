"""What is no checkpoint is named for what it is, with what to do."""

import gzip
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from torch import nn

from mmseg_deeplab.checkpoints import load_file
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
        ('a.pth', b'just text', r'\d+ bytes. is cut short or damaged'),
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


@pytest.mark.parametrize('name', ['iter_2.pth', 'model.safetensors', 'model.pt'])
def test_a_checkpoint_in_the_place_of_the_config(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf'{name} is a checkpoint, not a config: the config comes first'):
        load_config(tmp_path / name)
