"""The published parameters by name, and those of a file."""

import pytest

from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.crf.presets import PRESETS, load_preset


def test_presets_are_read_by_name_or_file(tmp_path):
    """Values of DeepLab v2's ResNet-101, as published; a file is what the search writes."""
    values = dict(iterations=10, pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3)
    assert load_preset('v2_r101') == values
    for name in PRESETS:
        DenseCRF(**load_preset(name))
    (tmp_path / 'own.py').write_text('# a comment\ndense_crf = dict(bi_w=7)')
    assert load_preset(str(tmp_path / 'own.py')) == load_preset(tmp_path / 'own.py') == dict(bi_w=7)


def test_a_preset_can_be_changed_without_changing_the_table():
    load_preset('v1')['bi_w'] = 99
    assert load_preset('v1')['bi_w'] == 5


@pytest.mark.parametrize(
    'text, message',
    [
        ('model = dict()', 'defines no dense_crf'),
        ('dense_crf = 3', 'defines no dense_crf'),
        ("_base_ = 'other.py'\ndense_crf = dict(bi_w=7)", 'of its own'),
        ('dense_crf = dict(', 'can not be read: SyntaxError'),
    ],
)
def test_files_that_are_no_presets_are_named(tmp_path, text, message):
    (tmp_path / 'other.py').write_text(text)
    with pytest.raises(ValueError, match=message):
        load_preset(str(tmp_path / 'other.py'))


def test_unknown_names_get_a_suggestion(tmp_path):
    with pytest.raises(ValueError, match=r"preset 'v2_r10'.* did you mean 'v2_r101'.*choose one of fast,.* v2_vgg16"):
        load_preset('v2_r10')
    with pytest.raises(FileNotFoundError, match=r'nothing\.py does not exist'):
        load_preset(str(tmp_path / 'nothing.py'))
