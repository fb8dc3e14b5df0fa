"""Published weights by name: downloaded once, converted once, kept.

Only files whose address is stable and whose name holds their hash are listed: torchvision's, and those of
MMSegmentation's own metafiles, as they are installed with it.
"""

import difflib
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mmseg
import torch
import yaml
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from .. import __version__
from ..errors import UserError
from .conversion import convert_file
from .download import HASH, fetch, writing_cache

PRETRAINED = 'pretrained'
"""In the place of a checkpoint: the published weights of the name that is in the place of the config."""
SCHEME = 'zoo://'
TORCHVISION = 'https://download.pytorch.org/models/'
RESNETS = re.compile(r'R-(50|101)b?-D')
"""Backbones of MMSegmentation that have a counterpart here."""


class Published(NamedTuple):
    """A published file.

    Attributes:
        url: Where it lies.
        layout: The code base it is of, a format of the converters.
        dataset: What it was trained on, and tested on if not said otherwise.
        figure: mIoU in percent, single-scale, as its authors publish it.
        licence: Of the code base that publishes it.
    """

    url: str
    layout: str
    dataset: str
    figure: float
    licence: str

    @property
    def sha256(self) -> str:
        """The first digits of the file's SHA-256, which its name holds and each download is compared with."""
        match = HASH.search(self.url.rpartition('/')[2])
        if match is None:
            raise ValueError(f'{self.url} has no hash in its name')
        return match[1]


@cache
def published() -> dict[str, Published]:
    """All that is known, by name."""
    coco = 'COCO with the classes of VOC'
    return {
        'deeplabv3_resnet50_coco': Published(
            f'{TORCHVISION}deeplabv3_resnet50_coco-cd0a2569.pth', 'torchvision', coco, 66.4, 'BSD-3-Clause'
        ),
        'deeplabv3_resnet101_coco': Published(
            f'{TORCHVISION}deeplabv3_resnet101_coco-586e9e4e.pth', 'torchvision', coco, 67.4, 'BSD-3-Clause'
        ),
        **_of_mmseg(),
    }


def _of_mmseg() -> dict[str, Published]:
    """What MMSegmentation's metafiles list of v3 and v3+; empty where it is installed without them."""
    entries = {}
    for version in ('deeplabv3', 'deeplabv3plus'):
        for file in (Path(mmseg.__file__).parent / '.mim' / 'configs' / version).glob('metafile.y*ml'):
            listed: dict[str, Any] = yaml.safe_load(file.read_text(encoding='utf-8'))
            licence = listed['Collections'][0]['License']
            for model in listed['Models']:
                url, results = model['Weights'], model['Results']
                if RESNETS.match(model['Metadata']['Architecture'][0]) and HASH.search(url.rpartition('/')[2]):
                    figure = float(results['Metrics']['mIoU'])
                    name = 'deeplab' + model['Name'].partition('deeplab')[2]  # one is called ddeeplab
                    schedule = re.search(r'_\d+k_', url)  # two have one name, that of the longer training
                    name = re.sub(r'(?<=-)\d+k_', schedule[0][1:], name) if schedule else name
                    entries[name] = Published(url, 'mmseg', results['Dataset'], figure, licence)
    return entries


def pretrained(name: str) -> tuple[Path, Path]:
    """Get published weights: downloaded at their first use, its hash compared at each, and converted once.

    Args:
        name: One of `published()`.

    Returns:
        A config file that fits, and the converted checkpoint. They stay in torch's cache, in a folder for each
        release of this package.

    Raises:
        UserError: If the name is unknown; near ones are suggested.
        UserFileNotFoundError: If it can't be downloaded.
    """
    name = str(name).removeprefix(SCHEME)
    if name not in published():
        near = difflib.get_close_matches(name, published(), 3, 0.4)
        ask = f'did you mean {" or ".join(near)}?' if near else '`deeplab models` lists them'
        raise UserError(f'there are no published weights of the name {name!r}; {ask}')
    entry = published()[name]
    source = fetch(entry.url)
    weights = Path(torch.hub.get_dir()) / 'mmseg_deeplab' / __version__ / f'{name}-of-{entry.sha256}.pth'
    config = weights.with_suffix('.py')
    if get_dist_info()[0] == 0:
        _convert(source, weights, config, entry.layout)
    barrier()
    _convert(source, weights, config, entry.layout)  # on another machine than that of the first process
    return config, weights


def _convert(source: Path, weights: Path, config: Path, layout: str) -> None:
    # Each is written whole or not at all, and by every process alike.
    if not (weights.is_file() and config.is_file()):
        with writing_cache():
            print_log(convert_file(source, weights, layout, write_config=config))
