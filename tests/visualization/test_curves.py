"""Curves of trainings from MMEngine's logs."""

import json

import pytest
from PIL import Image

from mmseg_deeplab.cli.curves import main
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.visualization.curves import curves_figure, read_curves


def write(folder, entries, tail=''):
    log = folder / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(entry) + '\n' for entry in entries) + tail)


def training(step, loss):
    return {'lr': 0.1 / step, 'base_lr': 0.1, 'loss': loss, 'decode.loss_ce': loss, 'decode.acc_seg': 50.0,
            'time': 0.1, 'data_time': 0.0, 'iter': step, 'step': step}  # fmt: skip


@pytest.fixture
def work(tmp_path):
    """A training that was killed at 40, at the log of 50, and resumed from 20."""
    folder = tmp_path / 'work'
    validation = {'aAcc': 80.0, 'mIoU': 30.0, 'time': 0.1, 'step': 20}
    first = [training(10, 4.0), training(20, 3.0), validation, training(30, 9.0), training(40, 9.0)]
    write(folder / '20260101_000000', first, tail='{"lr": 0.1, "lo')
    write(folder / '20260102_000000', [training(30, 2.0), training(40, 1.0), {**validation, 'mIoU': 50.5, 'step': 40}])
    return folder


def test_a_resumed_training_is_one_curve(work):
    curves = read_curves(work)
    assert curves.losses == {
        'loss': ([10, 20, 30, 40], [4.0, 3.0, 2.0, 1.0]),
        'decode.loss_ce': ([10, 20, 30, 40], [4.0, 3.0, 2.0, 1.0]),
    }
    assert curves.scores['mIoU'] == ([20, 40], [30.0, 50.5]) and set(curves.scores) == {'mIoU', 'aAcc'}
    assert curves.rates == {'lr': ([10, 20, 30, 40], [0.1 / step for step in (10, 20, 30, 40)])}


def test_what_is_drawn(work, tmp_path, capsys):
    figure = curves_figure({'a': read_curves(work), 'b': read_curves(work)})
    losses, rates, scores = figure.axes
    assert [line.get_ydata().tolist() for line in losses.lines] == [[4.0, 3.0, 2.0, 1.0]] * 2
    assert len(rates.lines) == 2 and [list(line.get_xdata()) for line in scores.lines] == [[20, 40]] * 2
    main([str(work), '--out', str(tmp_path / 'c.png')])
    assert Image.open(tmp_path / 'c.png').size[0] > 600
    assert 'work: mIoU 50.50 at 40, best 50.50 at 40' in capsys.readouterr().out


def test_mistakes(tmp_path, work):
    with pytest.raises(UserError, match='is not a folder'):
        main([str(tmp_path / 'nowhere')])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds no log'):
        main([str(tmp_path / 'empty')])
    with pytest.raises(UserError, match='name a picture'):
        main([str(work), '--out', 'curves.txt'])
    write(tmp_path / 'bad', [training(10, 1.0), {'loss': 1.0}])
    with pytest.raises(UserError, match='line 2'):
        main([str(tmp_path / 'bad')])
    write(tmp_path / 'deep', [training(10, 1.0)], tail='[' * 10**5 + '\n')
    with pytest.raises(UserError, match='line 2'):
        main([str(tmp_path / 'deep')])
