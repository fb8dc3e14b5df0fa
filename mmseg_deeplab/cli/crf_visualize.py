"""Draw what the dense CRF does to one image: score and belief maps by iteration, labels before and after.

python tools/crf_visualize.py configs/deeplabv2_r101_voc.py CHECKPOINT image.jpg
python tools/crf_visualize.py CONFIG CHECKPOINT image.jpg --truth mask.png --classes cat sofa --crf v1
"""

import argparse
from pathlib import Path

from ..crf.presets import load_preset
from ..inference import init_model
from ..inference.crf_pictures import ITERATIONS, draw_crf
from .configure import load_config, use_published
from .options import CfgOptions, add_crf_arguments, crf_of


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, draw."""
    parser = argparse.ArgumentParser(description='Draw what the dense CRF does to one image', allow_abbrev=False)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('image', help='picture file')
    parser.add_argument('--truth', metavar='PNG', help='label map of class indices; its boundary is drawn in white')
    parser.add_argument('--classes', nargs='+', default=[], help='classes to draw (default: the three largest)')
    add_crf_arguments(parser, default='v2_r101')
    parser.add_argument('--iterations', type=int, nargs='+', default=ITERATIONS, help='default: 0 1 2 4 10')
    parser.add_argument('--out-dir', default='crf_pictures', help='folder for the pictures (default: %(default)s)')
    parser.add_argument('--device', default='auto', help="the network's device (default: a GPU if there is one)")
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/test.py')
    args = parser.parse_args(argv)
    use_published(args)
    model = init_model(load_config(args.config, args.cfg_options), args.checkpoint, args.device)
    settings = crf_of(args) or {}
    crf, folder = {**load_preset(settings.pop('preset')), **settings}, Path(args.out_dir)
    files = draw_crf(model, args.image, crf, folder, args.truth, args.classes, sorted(args.iterations))
    for path in files:
        print(path)
