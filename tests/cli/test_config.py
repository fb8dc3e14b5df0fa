"""Ready configs by name: printed, copied for editing, suggested where the name is nearly one."""

import pytest
from mmengine.config import Config

from mmseg_deeplab import init_model
from mmseg_deeplab.cli.config import main
from mmseg_deeplab.config_files import find_config, read_config, ready_configs
from mmseg_deeplab.errors import UserError, UserFileNotFoundError

NAME = 'deeplabv3plus_mobilenetv2_demo'


def test_the_ready_ones_are_those_of_the_folder(repo, capsys):
    main([])
    expected = {path.relative_to(repo / 'configs').as_posix() for path in (repo / 'configs').rglob('*.py')}
    expected = {name.removesuffix('.py') for name in expected if not name.startswith('_base_/')}
    assert set(capsys.readouterr().out.split()) == expected == set(ready_configs())


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py', 'baselines/unet_voc', '_base_/datasets/voc12'])
def test_a_name_is_enough(repo, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == repo / 'configs' / f'{name.removesuffix(".py")}.py'
    assert 'train_dataloader' in read_config(name)


def test_a_file_of_that_name_wins(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f'{NAME}.py').write_text('mine = 1\n')
    assert read_config(f'{NAME}.py').mine == 1
    (tmp_path / NAME).mkdir()  # such as a work dir
    assert 'model' in read_config(NAME)


@pytest.mark.parametrize(
    'config, told',
    [
        ('deeplabv3plus_mobilenet_demo', f"did you mean '{NAME}'"),
        (f'elsewhere/{NAME}.py', f"did you mean '{NAME}'"),
        (f'configs/{NAME}', f"did you mean '{NAME}'"),
        ('yolo', '`deeplab config` lists'),
    ],
)
def test_what_is_no_config_is_told_what_is_near(config, told, monkeypatch, tmp_path):
    """A path that leads nowhere is no name: another file may have been meant."""
    monkeypatch.chdir(tmp_path)
    for call in (find_config, read_config, lambda config: init_model(config, 'nothing.pth')):
        with pytest.raises(UserFileNotFoundError, match='does not exist') as error:
            call(config)
        assert told in str(error.value)


def test_a_checkpoint_or_a_folder_is_no_config(tmp_path):
    for path, told in ((tmp_path, 'is a folder'), (tmp_path / 'a.pth', 'is a checkpoint')):
        with pytest.raises(UserError, match=told):
            init_model(path, 'nothing.pth')


@pytest.mark.parametrize('name', [NAME, '_base_/datasets/image_mask_folder', 'ablations/deeplabv3_r101_aspp_mg111_voc'])
def test_a_copy_is_the_same_config(repo, name, tmp_path, capsys):
    copy = tmp_path / 'sub folder' / 'mine.py'
    main([name, '--copy', str(copy)])
    original = repo / 'configs' / f'{name}.py'
    assert Config.fromfile(copy).to_dict() == Config.fromfile(original).to_dict()
    comments = [line for line in original.read_text().splitlines() if line.startswith('#')]
    assert comments and all(comment in copy.read_text() for comment in comments)
    with pytest.raises(UserError, match='exists'):
        main([name, '--copy', str(copy)])


def test_a_copy_within_the_folder_of_configs_may_move_with_it(repo):
    from mmseg_deeplab.config_files import copy_for

    text = copy_for(repo / 'configs' / 'ablations' / 'deeplabv3_r101_aspp_mg111_voc.py', repo / 'configs' / 'mine.py')
    assert "'deeplabv3_r101_voc.py'" in text and str(repo) not in text


def test_printed_with_its_bases(repo, capsys):
    main([NAME])
    printed = capsys.readouterr().out
    headers = [line.removeprefix('# --- ') for line in printed.splitlines() if line.startswith('# --- ')]
    assert headers[-1] == f'{NAME}.py' and headers.count('_base_/datasets/shared.py') == 1
    assert headers.index('_base_/datasets/shared.py') < headers.index('_base_/datasets/demo.py')
    for header in headers:
        assert (repo / 'configs' / header).read_text() in printed


@pytest.mark.parametrize('arguments, told', [(['--copy', 'x.py'], 'which config'), ([NAME, '--copy', 'x'], 'x.py')])
def test_mistakes(arguments, told):
    with pytest.raises(UserError, match=told):
        main(arguments)
