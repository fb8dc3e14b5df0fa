"""Print and draw the receptive fields of a config's network.

python tools/receptive_field.py configs/deeplabv3_r101_voc.py
python tools/receptive_field.py configs/deeplabv3_r50_voc.py --cfg-options model.backbone.multi_grid=1,1,1

The picture has one column for the backbone's features on the image, and one for the atrous units alone, on the cells
that enter them: there the holes can be seen that stacked equal rates leave, and how multi-grid fills them.
"""

import argparse
from pathlib import Path

from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ..checkpoints import load_file, load_state_dict
from ..checkpoints.save import atomic_write
from ..visualization.receptive_field import format_layers, inspect_fields
from .configure import load_config
from .options import CfgOptions


def main() -> None:
    """Parse the command line, build the network and print what it is."""
    parser = argparse.ArgumentParser(description="Receptive fields of a config's network.")
    parser.add_argument('config')
    parser.add_argument('--checkpoint', help='trained weights for the effective field (default: random weights)')
    parser.add_argument('--start', help='unit from which the second column looks (default: the first with a rate)')
    parser.add_argument('--size', type=int, default=513, help='side of the image in pixels (default: %(default)s)')
    parser.add_argument('--out', default='receptive_field.png', help='picture to write (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='as model.output_stride=8')
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope('mmseg')
    model = revert_sync_batchnorm(MODELS.build(config.model))
    if args.checkpoint:
        load_state_dict(model, load_file(args.checkpoint), source=args.checkpoint)
    layers, figure = inspect_fields(model, args.size, bool(args.checkpoint), args.start)
    print(format_layers(layers))
    with atomic_write(args.out) as file:
        figure.savefig(file, dpi=150, format=Path(args.out).suffix.removeprefix('.') or 'png')
    print(f'\nPicture written to {args.out}')
