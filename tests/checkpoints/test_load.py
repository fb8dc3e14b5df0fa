"""No checkpoint runs code, whatever path it comes in by; what can't be read says so with its path."""

import functools
import http.server
import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import mmengine
import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from mmseg_deeplab.checkpoints import load_file, save_file
from mmseg_deeplab.checkpoints.load import torchvision_models

# what a file of torch < 1.6 starts with: magic number, protocol, system
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
SCHEMES = ('s3://b/f.pth', 'x:s3://b/f.pth', 'petrel://b/f.pth', 'pavi://f.pth', 'jhu://f.pth', 'a+b:c://f.pth')


class RunsCode:
    """Leaves a marker where its pickle is run."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture(params=['zip', 'legacy', 'raw'])
def evil(request, tmp_path):
    """A file that creates `marker` when unpickled, in each container that torch reads."""
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    content = dict(state_dict=OrderedDict(weight=torch.zeros(1)), meta=RunsCode(marker))
    if request.param == 'raw':
        path.write_bytes(pickle.dumps(RunsCode(marker), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=request.param == 'zip')
    return path, marker


@pytest.fixture
def server(tmp_path, serve):
    """A web server of tmp_path, and a download cache that is empty."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    return serve(functools.partial(Quiet, directory=tmp_path))


def test_code_in_a_local_file_is_refused(evil):
    path, marker = evil
    for load in (load_file, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match=r'evil\.pth is refused.*can run code'):
            load(str(path))
    with pytest.raises(ValueError, match='refused'):
        load_checkpoint(nn.Linear(1, 1), str(path))

    class Net(BaseModule):
        pass

    with pytest.raises(ValueError, match='refused'):
        Net(init_cfg=dict(type='Pretrained', checkpoint=str(path))).init_weights()
    assert not marker.exists()


@pytest.mark.parametrize(
    'scheme', ['http', 'openmmlab://', 'open-mmlab://', 'torchvision://', 'modelzoo://', 'mmcls://']
)
def test_code_in_a_downloaded_file_is_refused(scheme, evil, server, monkeypatch):
    path, marker = evil
    urls = dict(net=f'{server}/{path.name}')
    for name in ('get_external_models', 'get_mmcls_models'):
        monkeypatch.setattr(f'mmengine.runner.checkpoint.{name}', lambda: urls)
    monkeypatch.setattr('mmseg_deeplab.checkpoints.load.torchvision_models', lambda: urls)
    with pytest.raises(ValueError, match='refused'):
        CheckpointLoader.load_checkpoint(urls['net'] if scheme == 'http' else f'{scheme}net')
    assert not marker.exists()


def test_good_files_come_by_http_and_by_name(tmp_path, server, monkeypatch):
    torch.save({'backbone.weight': torch.ones(2)}, tmp_path / 'good.pth')
    url = f'{server}/good.pth'
    assert CheckpointLoader.load_checkpoint(url)['backbone.weight'].tolist() == [1, 1]
    monkeypatch.setattr('mmengine.runner.checkpoint.get_mmcls_models', lambda: dict(net=url))
    assert list(CheckpointLoader.load_checkpoint('mmcls://net')['state_dict']) == ['weight']
    with pytest.raises(FileNotFoundError, match=r'cannot download .*absent\.pth.*path of the file'):
        CheckpointLoader.load_checkpoint(f'{server}/absent.pth')
    with pytest.raises(ValueError, match='mmcls://nett is unknown; did you mean net'):
        CheckpointLoader.load_checkpoint('mmcls://nett')


def test_the_names_in_our_configs_are_known_without_torchvision():
    """The pretrained backbones of configs/_base_/models, which nothing else in the tests may download."""
    assert {'resnet50', 'resnet101', 'vgg16'} <= set(torchvision_models())


@pytest.mark.parametrize('url', SCHEMES)
def test_other_storage_is_refused(url):
    with pytest.raises(ValueError, match='are not read from .*Copy .* to a local file'):
        CheckpointLoader.load_checkpoint(url)


@pytest.mark.parametrize(
    'owner, name',
    [
        (b'mmengine.logging.history_buffer\nHistoryBuffer\n', b'__init__'),
        (b'mmengine.logging.history_buffer\nHistoryBuffer\n', b'__dict__'),
        (b'collections\nOrderedDict\n', b'update'),
        (b'__builtin__\ngetattr\n', b'__self__'),  # the way to builtins.__dict__ where the real getattr is allowed
        (b'__builtin__\ngetattr\n', b'__globals__'),
    ],
)
def test_getattr_serves_the_statistics_only(owner, name, tmp_path):
    path = tmp_path / 'getattr.pth'
    call = b'\x80\x02c__builtin__\ngetattr\nc' + owner + b'X' + len(name).to_bytes(4, 'little') + name + b'\x86R.'
    path.write_bytes(LEGACY + call)
    with pytest.raises(ValueError, match=r'refused.*getattr\(.*is not allowed'):
        load_file(path)


def test_what_the_process_has_allowed_does_not_count(tmp_path):
    """Even the real getattr; and it is allowed again afterwards, to whom it was allowed."""
    path = tmp_path / 'getattr.pth'
    call = b'\x80\x02c__builtin__\ngetattr\nc__builtin__\ngetattr\nX\x08\x00\x00\x00__self__\x86R.'
    path.write_bytes(LEGACY + call)
    for allowed in ([getattr], [(getattr, 'builtins.getattr')]):
        with torch.serialization.safe_globals(allowed):
            before = set(torch.serialization.get_safe_globals())
            with pytest.raises(ValueError, match=r'refused.*getattr\(.*is not allowed'):
                load_file(path)
            assert set(torch.serialization.get_safe_globals()) == before


def test_object_arrays_are_refused(tmp_path):
    torch.save(dict(a=np.array([1, 'x'], dtype=object)), tmp_path / 'object.pth')
    with pytest.raises(ValueError, match='refused.*numpy type object'):
        load_file(tmp_path / 'object.pth')


def test_openmmlab_checkpoints_load(tmp_path):
    """All that a message hub may hold, in the names of NumPy 1 and 2."""
    hub = MessageHub('test_openmmlab_checkpoints_load')
    for value in (1.5, 2.5):
        hub.update_scalar('train/loss', value)
    hub.update_info('best_score', np.float64(75.2))
    values = [np.float32(1), np.int64(2), np.uint8(3), np.bool_(True), np.arange(3), np.array(['a', 'b'])]
    hub.update_info('values', values)
    content = dict(state_dict=dict(w=torch.ones(1)), meta=dict(iter=3), message_hub=hub.state_dict())
    torch.save(content, tmp_path / 'new.pth')
    raw = pickle.dumps(np.float64(3.5), 2).replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    (tmp_path / 'old.pth').write_bytes(
        LEGACY + b'\x80\x02}X\x01\x00\x00\x00a' + raw[2:-1] + b's.' + pickle.dumps([], 2)
    )
    loaded = load_file(tmp_path / 'new.pth')
    hub.load_state_dict(loaded['message_hub'])
    assert hub.get_scalar('train/loss').mean() == 2
    assert hub.get_info('best_score') == 75.2
    for got, expected in zip(hub.get_info('values'), values, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert load_file(tmp_path / 'old.pth') == dict(a=3.5)


@pytest.mark.parametrize('share', [0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_cut_files_are_explained(share, suffix, tmp_path):
    path = tmp_path / f'cut{suffix}'
    save_file(dict(w=torch.rand(1000)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=rf'cut{suffix}.*(again|damaged)'):
        load_file(path)


def test_what_is_no_checkpoint_is_explained(tmp_path):
    (tmp_path / 'page.pth').write_text('<html>404</html>')
    with pytest.raises(ValueError, match=r'page\.pth .*no checkpoint'):
        load_file(tmp_path / 'page.pth')
    torch.save(torch.zeros(3), tmp_path / 'tensor.pth')
    with pytest.raises(ValueError, match=r'tensor\.pth is no checkpoint: it holds one Tensor'):
        load_file(tmp_path / 'tensor.pth')
    torch.save(nn.Linear(1, 1), tmp_path / 'module.pth')
    with pytest.raises(ValueError, match=r'Linear.*state_dict'):
        load_file(tmp_path / 'module.pth')
    (tmp_path / 'model.pkl').write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match='pickle, which can run code'):
        load_file(tmp_path / 'model.pkl')


def test_metadata_that_is_not_json_is_explained(tmp_path):
    safetensors.torch.save_file(dict(w=torch.zeros(1)), tmp_path / 'm.safetensors', metadata=dict(meta='{epoch: 3'))
    with pytest.raises(ValueError, match=r"m\.safetensors: its metadata 'meta' is not JSON"):
        load_file(tmp_path / 'm.safetensors')


def test_missing_files_suggest_near_names(tmp_path):
    (tmp_path / 'iter_20000.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'Did you mean iter_20000\.pth'):
        load_file(tmp_path / 'iter_2000.pth')
    with pytest.raises(FileNotFoundError, match='folder .* does not exist'):
        load_file(tmp_path / 'no' / 'iter_2000.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.safetensors'])
def test_round_trip(suffix, tmp_path):
    weight = torch.arange(6.0).view(2, 3).t()
    checkpoint = dict(state_dict=dict(a=weight, tied=weight), meta=dict(dataset_meta=dict(classes=['x'])))
    save_file(checkpoint, tmp_path / f'new/file{suffix}')
    loaded = load_file(tmp_path / f'new/file{suffix}')
    assert loaded['meta'] == checkpoint['meta']
    torch.testing.assert_close(loaded['state_dict'], checkpoint['state_dict'], rtol=0, atol=0)
    assert [p.name for p in (tmp_path / 'new').iterdir()] == [f'file{suffix}']
    with pytest.raises(ValueError, match=r'name it \.pth, \.pt or \.safetensors'):
        save_file(checkpoint, tmp_path / 'file.bin')


def test_map_location_reaches_torch(tmp_path):
    torch.save(dict(a=torch.zeros(2)), tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth', map_location='meta')['a'].is_meta
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'), map_location='meta')['a'].is_meta


def test_every_loader_of_the_stack_is_replaced():
    """A scheme that a newer MMEngine adds fails here until somebody looks at it."""
    for loader in CheckpointLoader._schemes.values():
        assert loader.__module__ == 'mmseg_deeplab.checkpoints.load', (loader, mmengine.__version__)


def test_the_statistics_of_a_log_are_there_in_a_new_process(tmp_path, repo):
    """A resumed training asks for them before it logs a number of its own."""
    torch.save(dict(state_dict={}, log=HistoryBuffer([1.0, 3.0], [1, 1])), tmp_path / 'a.pth')
    code = (
        'import sys; from mmseg_deeplab.checkpoints import load_file; '
        'print(load_file(sys.argv[1])["log"].statistics("mean", 2))'
    )
    done = subprocess.run([sys.executable, '-c', code, tmp_path / 'a.pth'], cwd=repo, capture_output=True, text=True)
    assert done.stdout.split() == ['2.0'], done.stderr
