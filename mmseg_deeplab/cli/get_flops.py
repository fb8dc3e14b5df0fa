"""Print parameters, multiply-adds and activations of a config's network, module by module.

python tools/get_flops.py configs/deeplabv3plus_xception65_voc.py
python tools/get_flops.py configs/deeplabv3plus_r101_voc.py --shape 1025 2049 --depth 4
"""

import argparse

from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ..models.complexity import complexity, format_complexity
from .configure import load_config
from .options import CfgOptions


def main() -> None:
    """Parse the command line, build the network and print what it is."""
    parser = argparse.ArgumentParser(description="Count what a config's network costs, for one image.")
    parser.add_argument('config')
    parser.add_argument(
        '--shape', type=int, nargs='+', help="height and width in pixels, one number for both (default: config's crop)"
    )
    parser.add_argument('--depth', type=int, default=3, help='levels of modules to print (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, help='as model.output_stride=8')
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope('mmseg')
    shape = tuple(args.shape or config.crop_size)
    shape = shape * 2 if len(shape) == 1 else shape
    if len(shape) != 2:
        parser.error(f'--shape takes a height and a width, not {len(shape)} numbers')
    model = MODELS.build(config.model)
    print(format_complexity(complexity(model, shape), args.depth))
    padded = complexity(model, shape, space_to_batch=True)[0].multiply_adds
    print(
        f'\nOne image of {shape[0]} x {shape[1]} pixels, convolutions and matrix products only. Counted as in the v3+ '
        f'paper, with\natrous convolution on padded maps: {padded / 1e9:.2f}B multiply-adds.'
    )
