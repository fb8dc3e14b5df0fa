"""KEY=VALUE on the command line."""

import pytest
from mmengine.config import Config, DictAction
from preflight_helpers import problem

from mmseg_deeplab.datasets import set_data_root
from mmseg_deeplab.preflight import PreflightError, check, merge_options, parse_options
from mmseg_deeplab.preflight.options import parse_value


@pytest.mark.parametrize(
    'text',
    ['1', '-2.5', '1e-3', 'true', 'False', 'None', 'none', 'a', 'a,b', '[1,2]', '(1,2)', '[(1,2),[a,b],c]', '1,2,3']
    + ['', 'a,', "'x'", '/d/foo(1)/x', 'inf', '[]', '()', 'x=y', "it's", 'mmcls://mobilenet_v2'],
)
def test_values_are_read_as_mmengine_reads_them(text):
    value = parse_value(text)
    assert value == DictAction._parse_iterable(text) and type(value) is type(DictAction._parse_iterable(text))


@pytest.mark.parametrize(
    'text, value',
    [
        ("dict(type='EMAHook', momentum=0.1)", dict(type='EMAHook', momentum=0.1)),
        ('[dict(type=A,b=dict(c=[1,(2,3)])),dict(type=B)]', [dict(type='A', b=dict(c=[1, (2, 3)])), dict(type='B')]),
        ("{'a': 1, 'b': {'c': (1,2)}}", dict(a=1, b=dict(c=(1, 2)))),
        ('dict()', {}),
        ("'[1,2]'", '[1,2]'),
        ("dict(name='a, b')", dict(name='a, b')),
        ('a b', 'a b'),
    ],
)
def test_groups_and_quoted_texts(text, value):
    """MMEngine's own reader ends in a RecursionError on a group with a comma."""
    assert parse_value(text) == value


@pytest.mark.parametrize('text', ['dict(a)', 'dict(a=', '[1,2', '(1', 'dict(a=)', '1]', "dict(a='x)"])
def test_values_that_can_not_be_read(text):
    with pytest.raises(PreflightError, match='can not be read: '):
        parse_options([f'model.neck={text}'])


def test_options_without_a_value():
    with pytest.raises(PreflightError, match="'model.neck' is not KEY=VALUE"):
        parse_options(['model.neck'])


def test_a_group_that_is_none_is_begun(cfg):
    """As docs/checkpoints.md has it, for a config that starts from scratch."""
    assert cfg.model.backbone.init_cfg is None
    options = ['model.backbone.init_cfg.type=Pretrained', 'model.backbone.init_cfg.checkpoint=DST.pth']
    merge_options(cfg, parse_options(options))
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='DST.pth')


def test_a_metric_may_be_replaced_by_several(cfg):
    merge_options(cfg, parse_options(['val_evaluator=[dict(type=SegmentationMetric),dict(type=TrimapMetric)]']))
    assert [metric['type'] for metric in cfg.val_evaluator] == ['SegmentationMetric', 'TrimapMetric']
    check(cfg, 'train')


def test_options_that_do_not_fit(cfg):
    with pytest.raises(PreflightError, match='--cfg-options do not fit .*demo.py'):
        merge_options(cfg, {'param_scheduler.7.power': 1})


@pytest.mark.parametrize('where', ['model.neck', 'custom_hooks.0', 'model.decode_head.sampler'])
def test_a_delete_without_anything_to_delete(cfg, repo, tmp_path, where):
    key, _, inner = where.rpartition('.')
    group = "dict(_delete_=True, type='EMAHook')"
    line = {
        'model': f'model = dict(neck={group})',
        'custom_hooks': f'custom_hooks = [{group}]',
        'model.decode_head': f'model = dict(decode_head=dict(sampler={group}))',
    }[key]
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{repo}/configs/deeplabv3plus_mobilenetv2_demo.py'\n{line}\n")
    message = problem(Config.fromfile(path))
    assert f"config key '{where}._delete_'" in message and 'leave _delete_ out' in message


def test_the_version_switch_on_a_separable_base(repo, tmp_path, generated):
    """The group of v3+ brings settings along that v3 does not take."""
    path = tmp_path / 'mine.py'
    base = f"_base_ = '{repo}/configs/deeplabv3plus_mobilenetv2_demo.py'\n"
    path.write_text(f"{base}model = dict(decode_head=dict(type='DeepLabV3Head'))\n")
    message = problem(Config.fromfile(path))
    assert "'model.decode_head.separable_decoder': DeepLabV3Head takes no" in message
    assert 'dict(_delete_=True, type=...)' in message
    head = "dict(_delete_=True, type='DeepLabV3Head', separable_aspp=True)"
    path.write_text(f'{base}model = dict(decode_head={head})\n')
    mine = Config.fromfile(path)
    set_data_root(mine, generated)
    mine.work_dir = str(tmp_path / 'work')
    check(mine, 'train')
