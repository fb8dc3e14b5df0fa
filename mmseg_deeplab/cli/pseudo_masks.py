"""Make masks for training of activation maps or scores, refined by the dense CRF; or judge such masks by truth.

python tools/pseudo_masks.py cams --images JPEGImages --threshold 0.25 --crf irn --certainty 0.7 --out pseudo
python tools/pseudo_masks.py cams --images JPEGImages --power 4 --crf pydensecrf --out pseudo
python tools/pseudo_masks.py answers/probabilities --images JPEGImages --crf --out pseudo
python tools/pseudo_masks.py cams --images JPEGImages --threshold 0.1 0.2 0.3 --evaluate SegmentationClass --out curve

May be interrupted: the same command goes on where it stopped. Files of scores are .npy, .npz or, of labels, .png, by
the name of their picture: docs/pseudo_masks.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg.datasets import PascalVOCDataset

from ..checkpoints.save import atomic_write
from ..datasets.classes_file import Classes, read_classes
from ..datasets.palette import voc_palette
from ..errors import UserError
from ..inference import make_crf
from ..preflight.places import check_folder
from ..progress import progress
from ..pseudo import Point, Recipe, make_masks, pair, sweep
from ..pseudo.sweep import variants, write_table
from ..visualization import sweep_figure
from .options import add_crf_arguments, add_shard_argument, crf_of, shard_of


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, make masks or judge them, say what became of it."""
    args = _parser().parse_args(argv)
    crf_options = crf_of(args)
    crf = None if crf_options is None else make_crf(input='probabilities', **crf_options)
    if args.certainty is not None and crf is None:
        raise UserError('--certainty says how certain the CRF is to be of labels; give --crf too')
    classes = read_classes(args.classes_file) if args.classes_file else _voc()
    subset = [_class(name, classes.names) for name in args.classes]
    if args.evaluate and (args.shard or args.overwrite):
        raise UserError('--shard and --overwrite are of masks that are written; --evaluate writes none')
    if not args.evaluate and subset:
        raise UserError('--classes says which classes count with --evaluate; other classes are a --classes-file')
    basis = Recipe(len(classes.names), logits=args.logits, certainty=args.certainty, unsure_below=args.unsure_below)
    recipes = variants(basis, args.threshold, args.power)
    check_folder(args.out, 'out', '--out')
    if args.evaluate:
        jobs = pair(args.scores, args.images, args.names)
        with progress('judging masks', len(jobs)) as advance:
            points = sweep(jobs, args.evaluate, recipes, crf, args.workers, advance)
        _report(points, Path(args.out), classes.names, subset)
        return
    if len(recipes) > 1:
        raise UserError('several thresholds or powers are for --evaluate TRUTH; masks are made by one')
    jobs = pair(args.scores, args.images, args.names, shard_of(args))
    with progress('making masks', len(jobs)) as advance:
        written, skipped = make_masks(
            jobs, args.out, recipes[0], crf, classes.palette, args.overwrite, args.workers, advance
        )
    print(f'{written} written, {skipped} were there already: {args.out}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Make masks of activation maps and scores', allow_abbrev=False)
    parser.add_argument('scores', nargs='+', metavar='SCORES', help='files, folders, patterns: .npy, .npz, .png')
    parser.add_argument('--images', required=True, metavar='DIR', help='the pictures, by the names of the scores')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the masks, or table and curve')
    parser.add_argument('--names', metavar='FILE', help='take only the names in this list, one a line')
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        '--threshold', nargs='+', type=float, default=[], metavar='T', help="activations: the background's score"
    )
    kinds.add_argument(
        '--power', nargs='+', type=float, default=[], metavar='A',
        help='activations: the background is (1 - the largest one) to this power',
    )  # fmt: skip
    kinds.add_argument('--logits', action='store_true', help='the scores are logits of all classes')
    add_crf_arguments(parser)
    parser.add_argument(
        '--certainty', type=float, metavar='P', help='the CRF refines labels that are right with this probability'
    )
    parser.add_argument(
        '--unsure-below', type=float, default=0.0, metavar='P', help='less probable labels become void, 255'
    )
    parser.add_argument('--classes-file', metavar='FILE', help="names and colours, the background first; default VOC's")
    parser.add_argument('--evaluate', metavar='DIR', help='judge by the masks in this folder, and write no masks')
    parser.add_argument('--classes', nargs='+', default=[], metavar='NAME', help='whose mean IoU counts (default: all)')
    parser.add_argument('--overwrite', action='store_true', help='make anew what is there')
    add_shard_argument(parser)
    parser.add_argument('--workers', type=_whole, metavar='N', help='threads (default: the processors)')
    return parser


def _whole(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number from 1 on')
    return int(text)


def _voc() -> Classes:
    names = PascalVOCDataset.METAINFO['classes']
    return Classes(tuple(names), tuple(voc_palette(len(names))))


def _class(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise UserError(f'--classes {name}: the classes are {", ".join(names)}')
    return names.index(name)


def _report(points: Sequence[Point], out: Path, names: Sequence[str], subset: Sequence[int]) -> None:
    """Print the points, write them as curve.csv and, if several values were tried, curve.png."""
    write_table(out / 'curve.csv', points, names, subset)
    print('   mIoU   aAcc  labelled')
    for point in points:
        numbers = (point.miou(subset), point.scores.pixel_acc, point.labelled)
        print('  '.join(f'{100 * number:6.2f}' for number in numbers), f'  {_name(point)}')
    swept = 'power' if points[0].recipe.power is not None else 'threshold'
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for point in points:
        value = getattr(point.recipe, swept)
        if value is not None:
            values, mious = curves.setdefault('with CRF' if point.refined else 'without CRF', ([], []))
            values.append(value)
            mious.append(100 * point.miou(subset))
    if any(len(values) > 1 for values, _ in curves.values()):
        with atomic_write(out / 'curve.png') as file:
            sweep_figure(f'{swept} of the background', curves).savefig(file, format='png', dpi=120)
    print(f'table and curve: {out}')


def _name(point: Point) -> str:
    values = {'threshold': point.recipe.threshold, 'power': point.recipe.power}
    parts = [f'{name} {value:g}' for name, value in values.items() if value is not None]
    return ', '.join([*parts, 'with CRF' if point.refined else 'without CRF'])
