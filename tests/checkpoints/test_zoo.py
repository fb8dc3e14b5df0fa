"""Published weights by name: fetched from a server on this machine, converted once, used by every command."""

import functools
import hashlib
import http.server
import multiprocessing
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from plain_network import Net
from source_networks import CLASSES, IMAGE, torchvision_v3

from mmseg_deeplab import init_model
from mmseg_deeplab.checkpoints import load_file, zoo
from mmseg_deeplab.checkpoints.convert import convert_state
from mmseg_deeplab.checkpoints.options import build
from mmseg_deeplab.cli import main
from mmseg_deeplab.errors import UserError

NAME = 'deeplabv3_small_coco'


@pytest.fixture
def requests(tmp_path, serve, monkeypatch):
    """A server with the weights of a small network, listed under NAME; the requests that it got."""
    net, asked = Net(), []
    torchvision_v3(net, IMAGE)
    folder = tmp_path / 'public'
    folder.mkdir()
    names = dict(
        classes=[f'class {number}' for number in range(CLASSES)], palette=[[number, 9, 9] for number in range(CLASSES)]
    )
    torch.save(dict(state_dict=net.state, meta=dict(dataset_meta=names)), folder / 'net.pth')
    sha256 = hashlib.sha256((folder / 'net.pth').read_bytes()).hexdigest()
    (folder / 'net.pth').rename(folder / f'net-{sha256[:8]}.pth')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    url = f'{serve(functools.partial(Handler, directory=folder))}/net-{sha256[:8]}.pth'
    entries = {NAME: zoo.Published(url, 'torchvision', 'COCO', 66.4, 'BSD')}
    monkeypatch.setattr(zoo, 'published', lambda: entries)
    return asked


def test_downloaded_and_converted_once(requests, tmp_path):
    config, weights = zoo.pretrained(NAME)
    assert len(requests) == 1 and weights.is_relative_to(tmp_path / 'cache')
    assert Config.fromfile(config).model.decode_head.num_classes == CLASSES
    written = weights.stat().st_mtime_ns
    assert zoo.pretrained(f'zoo://{NAME}') == (config, weights)
    assert len(requests) == 1 and weights.stat().st_mtime_ns == written
    config.unlink()  # as a kill between the two leaves it
    assert zoo.pretrained(NAME)[0].is_file() and len(requests) == 1
    state = CheckpointLoader.load_checkpoint(f'zoo://{NAME}')['state_dict']
    assert state.keys() == load_file(weights)['state_dict'].keys()


def test_two_processes_at_once(requests, tmp_path):
    """Both get files that are whole, whoever was first."""
    context = multiprocessing.get_context('fork')
    children = [context.Process(target=_use, args=(tmp_path / f'{number}',)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert (tmp_path / '0').read_text() == (tmp_path / '1').read_text()
    assert not list((tmp_path / 'cache').rglob('.*'))


def _use(note):
    config, weights = zoo.pretrained(NAME)
    build(Config.fromfile(config).model).load_state_dict(load_file(weights)['state_dict'])
    note.write_text(f'{config} {weights}')


def test_a_cache_that_can_not_be_written(requests, tmp_path, monkeypatch):
    """A file in the place of its folder, as permissions don't stop every user."""
    (tmp_path / 'file').touch()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'file'))
    with pytest.raises(UserError, match='can not be written: Not a directory.*: let TORCH_HOME name a folder'):
        zoo.pretrained(NAME)


def test_another_file_is_not_taken(requests, tmp_path):
    file = next((tmp_path / 'public').iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b'x')
    with pytest.raises(UserError, match=r'cannot download .*its SHA-256 begins with'):
        zoo.pretrained(NAME)
    assert not list((tmp_path / 'cache').rglob('*.pth'))
    file.unlink()
    with pytest.raises(FileNotFoundError, match='cannot download .*404'):
        zoo.pretrained(NAME)


def test_unknown_names(requests):
    for use in (zoo.pretrained, lambda name: init_model(name, 'pretrained', 'cpu'), CheckpointLoader.load_checkpoint):
        with pytest.raises(UserError, match=rf"no published weights of the name 'deeplabv3_small'; .*{NAME}"):
            use('zoo://deeplabv3_small')


def test_every_way_to_use_them(requests, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    data = tmp_path / 'data'
    for folder in ('images', 'masks'):
        (data / folder).mkdir(parents=True)
    for number in range(10):
        cv2.imwrite(str(data / f'images/{number}.png'), random.integers(0, 255, (40, 50, 3), np.uint8))
        cv2.imwrite(str(data / f'masks/{number}.png'), random.integers(0, CLASSES, (40, 50), np.uint8))
    (data / 'classes.txt').write_text('\n'.join(f'class {number}' for number in range(CLASSES)))
    model = init_model(NAME, 'pretrained', 'cpu')
    assert model.decode_head.num_classes == CLASSES
    main(['predict', NAME, 'pretrained', str(data / 'images'), '--out', str(tmp_path / 'out'), '--device', 'cpu'])
    assert len(list((tmp_path / 'out').rglob('*.png'))) >= 10
    capsys.readouterr()
    main(['test', NAME, 'pretrained', '--data-root', str(data), '--cfg-options', 'test_dataloader.num_workers=0'])
    assert 'mIoU' in capsys.readouterr().out
    assert len(requests) == 1


def test_the_list(capsys):
    main(['models'])
    text = capsys.readouterr().out
    assert 'deeplabv3_resnet101_coco' in text and '586e9e4e' in text
    main(['models', 'no such'])
    assert 'deeplab' not in capsys.readouterr().out


def test_what_is_listed():
    """Addresses are whole, and their file names hold hashes."""
    for name, entry in zoo.published().items():
        assert entry.url.startswith('https://') and entry.url.endswith(f'-{entry.sha256}.pth'), name
        assert entry.dataset and entry.licence and 30 < entry.figure < 90, name


METAFILES = Path(zoo.mmseg.__file__).parent / '.mim/configs'


@pytest.mark.skipif(not METAFILES.is_dir(), reason='MMSegmentation is installed without its metafiles')
@pytest.mark.parametrize('version', ['deeplabv3', 'deeplabv3plus'])
def test_what_mmsegmentation_lists(version):
    """Each R-50 and R-101 of its metafile, read as lines: name, address and figure, in their order there."""
    text = next((METAFILES / version).glob('metafile.y*ml')).read_text()
    blocks = re.split(r'\n- Name: ', text[text.index('\nModels:') :])[1:]
    found = renamed = 0
    for block in blocks:
        name, figure = block.split()[0], float(re.search(r'mIoU: ([\d.]+)', block)[1])
        url = re.search(r'Weights: (\S+)', block)[1]
        known = next((entry for entry in zoo.published().values() if entry.url == url), None)
        assert (known is not None) == bool(re.search(r'- R-(50|101)b?-D', block)), name
        if known is not None:
            assert known.figure == figure and known.dataset in block and known.sha256 in url
            renamed += zoo.published().get(name) is not known
            found += 1
    assert found > 15 and renamed == 2 * (version == 'deeplabv3plus')  # ddeeplab, and an 80k that is called 160k
    assert zoo.published()['deeplabv3plus_r101-d8_4xb4-80k_ade20k-512x512'].figure == 44.6
    assert zoo.published()['deeplabv3plus_r101-d8_4xb4-160k_ade20k-512x512'].figure == 45.47


@pytest.mark.skipif(not METAFILES.is_dir(), reason='MMSegmentation is installed without its metafiles')
@pytest.mark.parametrize(
    'name',
    [
        'deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024',
        'deeplabv3plus_r50b-d8_4xb2-80k_cityscapes-769x769',
        'deeplabv3plus_r101-d16-mg124_4xb2-80k_cityscapes-512x1024',
    ],
)
def test_what_mmsegmentation_publishes_has_a_counterpart(name):
    """Its own network of that name, built from its own config, converts and fits."""
    from mmseg.registry import MODELS

    version = name.split('_')[0]
    assert name in zoo.published()
    cfg = Config.fromfile(METAFILES / version / f'{name}.py')
    cfg.model.pretrained = None
    conversion = convert_state(MODELS.build(cfg.model).state_dict())
    own = build(conversion.model).state_dict()
    assert {k for k in own if 'num_batches' not in k} == {k for k in conversion.state_dict if 'num_batches' not in k}
