"""Published parameters of the dense CRF by name, and those that a file holds."""

from __future__ import annotations

import difflib
import runpy
from pathlib import Path
from typing import Any

from ..errors import UserError, UserFileNotFoundError


def _set(pos_w: float, pos_xy_std: float, bi_w: float, bi_xy_std: float, bi_rgb_std: float) -> dict[str, Any]:
    return dict(
        iterations=10, pos_w=pos_w, pos_xy_std=pos_xy_std, bi_w=bi_w, bi_xy_std=bi_xy_std, bi_rgb_std=bi_rgb_std
    )


PRESETS: dict[str, dict[str, Any]] = {
    # DeepLab v1 (1412.7062): the authors' run_densecrf.sh (TheLegendAli/DeepLab-Context @20484a5), within the
    # paper's search (section 4: pos 3/3, bi_w 5 or 10, bi_xy_std 50 to 100, bi_rgb_std 3 to 10).
    'v1': _set(3, 3, 5, 50, 3),
    # An older state of that script (@b0b2288), which leaves the position kernel out of its options; here it is the
    # paper's, section 4.
    'v1_older': _set(3, 3, 10, 60, 20),
    # DeepLab-LargeFOV (v1, VGG-16): ports of the authors' Caffe scripts; CoinCheung/Deeplab-Large-FOV.
    'largefov_49': _set(3, 3, 4, 49, 5),
    'largefov_121': _set(3, 3, 4, 121, 5),
    # DeepLab v2 with ResNet-101 (1606.00915), all data sets: kazuto1011/deeplab-pytorch, configs/*.yaml.
    'v2_r101': _set(3, 1, 4, 67, 3),
    # Branch crf of DrSleep/tensorflow-deeplab-resnet.
    'v2_r101_drsleep': _set(4, 1, 5, 49, 13),
    # Comment in isht7/pytorch-deeplab-resnet, data/test.prototxt.
    'v2_r101_isht7': _set(4, 1, 5, 21, 3),
    # DeepLab v2 with VGG-16 (1606.00915): the authors' values as quoted by HAL-42/FMA-WSSS, configs/patterns/crf.
    'v2_vgg16': _set(2, 2, 4, 65, 3),
    # The example in pydensecrf's README: tuned for no network in particular. On activation maps: jiwoon-ahn/psa and
    # YudeWang/SEAM, tool/imutils.py, crf_inference.
    'pydensecrf': _set(3, 3, 10, 80, 13),
    # On hard labels of certainty 0.7: jiwoon-ahn/irn, misc/imutils.py, crf_inference_label.
    'irn': _set(3, 3, 10, 50, 5),
    # The values of v2_r101, without unlikely classes and certain pixels: docs/dense_crf.md says what that changes.
    'fast': dict(_set(3, 1, 4, 67, 3), mode='fast'),
}


def load_preset(preset: str | Path) -> dict[str, Any]:
    """Return the parameters of `DenseCRF` that a name of `PRESETS` or a Python file stands for.

    Args:
        preset: A name, or the path of a .py file with `dense_crf = dict(...)`, as the parameter search writes one.

    Raises:
        UserError: For an unknown name, a file that is not there, and one that does not define just that.
    """
    if not str(preset).endswith('.py'):
        if preset not in PRESETS:
            near = difflib.get_close_matches(str(preset), PRESETS, n=1)
            raise UserError(
                f'CRF preset {str(preset)!r} is unknown'
                + (f'; did you mean {near[0]!r}?' if near else '')
                + f': choose one of {", ".join(sorted(PRESETS))}, or give a .py file'
            )
        return dict(PRESETS[str(preset)])
    path = Path(preset)
    if not path.is_file():
        raise UserFileNotFoundError(f'CRF preset {path} does not exist (from {Path.cwd()})')
    try:
        names = runpy.run_path(str(path))
    except Exception as error:
        raise UserError(f'CRF preset {path} can not be read: {type(error).__name__}: {error}') from error
    if '_base_' in names or not isinstance(names.get('dense_crf'), dict):
        raise UserError(f'CRF preset {path} defines no dense_crf = dict(...) of its own')
    return dict(names['dense_crf'])
