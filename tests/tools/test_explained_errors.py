"""Mistakes in the command lines of the tools beside train.py and test.py end with one explained line."""

import runpy

import pytest

CONFIG = 'configs/deeplabv3plus_mobilenetv2_demo.py'
DATA = 'configs/_base_/datasets/demo.py'


@pytest.fixture
def error_of(repo, monkeypatch, capsys):
    """error_of(tool, *arguments): the message that a tool ends with."""

    def call(tool: str, *arguments: str) -> str:
        monkeypatch.chdir(repo)
        monkeypatch.setattr('sys.argv', [tool, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(repo / 'tools' / tool), run_name='__main__')
        return f'{stop.value.code} {capsys.readouterr().err}'

    return call


@pytest.mark.parametrize(
    'tool, arguments',
    [
        ('browse_dataset.py', []),
        ('crf_visualize.py', ['a.pth', 'a.jpg']),
        ('crf_search.py', ['a.pth']),
        ('get_flops.py', []),
        ('receptive_field.py', []),
    ],
)
def test_config_and_options(error_of, tool, arguments):
    assert error_of(tool, 'nothing.py', *arguments).startswith('error: config nothing.py does not exist, neither as')
    typo = error_of(tool, CONFIG, *arguments, '--cfg-options', 'modle.output_stride=8')
    assert typo.startswith('error: ') and "did you mean 'model'" in typo
    assert "'model.output_stride' is not KEY=VALUE" in error_of(
        tool, CONFIG, *arguments, '--cfg-options', 'model.output_stride'
    )


def test_config_to_convert_for(error_of):
    message = error_of('convert_checkpoint.py', 'a.pth', 'b.pth', '--config', 'nothing.py')
    assert message.startswith('error: config nothing.py does not exist')


@pytest.mark.parametrize(
    'tool, arguments, split', [('browse_dataset.py', [DATA], 'train'), ('crf_search.py', [CONFIG, 'a.pth'], 'val')]
)
def test_data_that_is_not_there(error_of, tmp_path, tool, arguments, split):
    message = error_of(tool, *arguments, '--data-root', str(tmp_path))
    assert message.startswith(f'error: {split}_dataloader.dataset') and '--data-root DIR' in message


def test_browsing_a_split_that_the_config_lacks(error_of):
    message = error_of('browse_dataset.py', CONFIG, '--cfg-options', 'train_dataloader=None')
    assert message.startswith('error: the config has no train_dataloader')
