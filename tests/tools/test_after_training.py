"""What is done with checkpoints once they are trained: averaged, published, used by others."""

import hashlib
import json
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from mmseg.registry import MODELS

from mmseg_deeplab import init_model, predict
from mmseg_deeplab.checkpoints import load_file
from mmseg_deeplab.checkpoints.save import save_file
from mmseg_deeplab.cli.average import main as average
from mmseg_deeplab.cli.publish import main as publish
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.preflight import merge_options, parse_options


def state(path):
    return load_file(path)['state_dict']


@pytest.fixture(scope='module')
def other(trained, tmp_path_factory):
    """The trained checkpoint with other weights."""
    torch.manual_seed(1)
    checkpoint = load_file(trained.checkpoint)
    for value in checkpoint['state_dict'].values():
        if value.is_floating_point():
            value.mul_(1 + 0.2 * torch.rand_like(value))
        else:
            value += 3
    path = tmp_path_factory.mktemp('other') / 'other.pth'
    save_file(dict(state_dict=checkpoint['state_dict'], meta=checkpoint['meta']), path)
    return path


def test_the_mean_of_two(trained, other, tmp_path, capsys):
    average([str(trained.checkpoint), str(other), '--out', str(tmp_path / 'mean.pth')])
    assert 'statistics of batch norm are means too' in capsys.readouterr().out
    one, two, mean = state(trained.checkpoint), state(other), state(tmp_path / 'mean.pth')
    assert mean.keys() == one.keys()
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[key] + two[key]) / 2, rtol=1e-6, atol=1e-7)
        else:
            assert value == two[key]  # the larger counter
    meta = load_file(tmp_path / 'mean.pth')['meta']
    assert list(meta['dataset_meta']['classes'])[0] == 'background' and len(meta['dataset_meta']['classes']) == 7
    assert meta['averaged_from'] == [trained.checkpoint.name, 'other.pth']


def test_the_mean_of_one_file_and_itself_is_it(trained, tmp_path):
    average([str(trained.checkpoint)] * 2 + ['--out', str(tmp_path / 'mean.safetensors')])
    mean = state(tmp_path / 'mean.safetensors')
    assert all(torch.equal(value, mean[key]) for key, value in state(trained.checkpoint).items())


def _seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def test_batch_norm_is_measured_as_torch_measures_it(trained, other, tools, tmp_path, capsys):
    """Against torch.optim.swa_utils.update_bn on the same batches, with dropout set to 0 there."""
    pair, data = [str(trained.checkpoint), str(other)], ['--data-root', str(tools.data), '--batches', '3']
    _seed()
    average(
        [*pair, '--out', str(tmp_path / 'mean.pth'), '--config', tools.config, *data, '--cfg-options', *tools.options]
    )
    said = capsys.readouterr().out
    average([*pair, '--out', str(tmp_path / 'plain.pth')])
    cfg = Config.fromfile(tools.config)
    merge_options(cfg, parse_options(tools.options))
    cfg.train_dataloader.dataset.data_root = str(tools.data)
    _seed()
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.load_state_dict(state(tmp_path / 'plain.pth'))
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batches = [batch for batch, _ in zip(loader, range(3), strict=False)]
    torch.optim.swa_utils.update_bn([model.data_preprocessor(batch, True)['inputs'] for batch in batches], model)
    measured, expected, plain = state(tmp_path / 'mean.pth'), model.state_dict(), state(tmp_path / 'plain.pth')
    statistics = [key for key in measured if 'running' in key]
    assert f'statistics of {len(statistics) // 2} batch norms were measured on 3 batches' in said
    for key in statistics:
        torch.testing.assert_close(measured[key], expected[key], rtol=1e-4, atol=1e-5)
        assert not torch.equal(measured[key], plain[key])
    assert all(torch.equal(measured[key], plain[key]) for key in plain if 'running' not in key)


def test_what_has_no_mean(trained, tmp_path):
    out = ['--out', str(tmp_path / 'mean.pth')]
    checkpoint = load_file(trained.checkpoint)
    meta, weights = checkpoint['meta'], checkpoint['state_dict']
    key = next(iter(weights))
    for name, changed, told in (
        ('less', {k: v for k, v in weights.items() if k != key}, 'different networks: only'),
        ('shape', {**weights, key: weights[key][:1]}, 'in the first'),
    ):
        save_file(dict(state_dict=changed, meta=meta), tmp_path / f'{name}.pth')
        with pytest.raises(UserError, match=told):
            average([str(trained.checkpoint), str(tmp_path / f'{name}.pth'), *out])
    names = dict(dataset_meta=dict(classes=list('abcdefg')))
    save_file(dict(state_dict=weights, meta=names), tmp_path / 'classes.pth')
    with pytest.raises(UserError, match='different classes'):
        average([str(trained.checkpoint), str(tmp_path / 'classes.pth'), *out])
    for arguments, told in (
        ([str(trained.checkpoint), *out], 'two or more'),
        (['a.pth', 'b.pth', '--out', 'c.bin'], 'name it'),
        (['a.pth', 'b.pth', *out, '--data-root', '.'], '--config'),
        (['a.pth', 'b.pth', *out, '--batches', '0'], 'at least 1'),
    ):
        with pytest.raises(UserError, match=told):
            average(arguments)
    assert not (tmp_path / 'mean.pth').exists()


def test_published_weights_answer_as_the_checkpoint_does(trained, tools, tmp_path, capsys):
    report = tmp_path / 'report'
    report.mkdir()
    numbers = dict(
        format='mmseg_deeplab results 1', title='demo', facts={'checkpoint': 'elsewhere.pth'}, classes=['a'],
        metrics={'mIoU': 12.5}, iou=[12.5], iou_before_crf=None, trimap=[], trimap_before_crf=None, images=9,
        seconds=1.0, parameters=1, multiply_adds=None, shape=[97, 97],
    )  # fmt: skip
    (report / 'results.json').write_text(json.dumps(numbers))
    publish([str(trained.checkpoint), str(tmp_path / 'release' / 'demo'), '--report', str(report)])
    said = capsys.readouterr().out
    (weights,) = (tmp_path / 'release').glob('demo-*.safetensors')
    assert {path.name for path in (tmp_path / 'release').iterdir()} == {weights.name, f'{weights.stem}.py'}
    assert weights.stem.split('-')[1] == hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    published = load_file(weights)
    assert published['meta']['figures'] == dict(config='demo', images=9, metrics={'mIoU': 12.5})
    assert 'mIoU 12.50' in said and "file named 'elsewhere.pth'" in said
    text = weights.with_suffix('.py').read_text()
    assert published['meta']['cfg'] == text and str(trained.work) not in text
    source = load_file(trained.checkpoint)['state_dict']
    assert all(torch.equal(value, published['state_dict'][key]) for key, value in source.items())
    picture = next((tools.data / 'JPEGImages').glob('*.jpg'))
    config = Config.fromfile(tools.config)
    merge_options(config, parse_options(tools.options))
    expected = predict(init_model(config, trained.checkpoint, 'cpu'), picture)
    answer = predict(init_model(weights.with_suffix('.py'), weights, 'cpu'), picture)
    assert (answer.labels == expected.labels).all() and answer.classes == expected.classes


def test_what_can_not_be_published(trained, tools, tmp_path, monkeypatch):
    checkpoint = load_file(trained.checkpoint)
    for name, cfg, told in (
        ('none', None, 'does not hold the config'),
        ('code', "import os\nmodel = os.system('touch ran')", 'more than values'),
        ('call', "model = dict(type=open('ran', 'w'))", 'more than values'),
        ('broken', 'model = (', 'can not be read'),
    ):
        meta = {key: value for key, value in dict(checkpoint['meta'], cfg=cfg).items() if value is not None}
        save_file(dict(state_dict=checkpoint['state_dict'], meta=meta), tmp_path / f'{name}.pth')
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=told):
            publish([str(tmp_path / f'{name}.pth'), str(tmp_path / 'out')])
    with pytest.raises(UserError, match='decode_head'):  # of another network
        publish([str(trained.checkpoint), str(tmp_path / 'out'), '--config', tools.config])
    assert not (tmp_path / 'ran').exists() and not list(tmp_path.glob('out*'))
