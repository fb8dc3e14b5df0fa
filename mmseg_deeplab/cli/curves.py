"""Draw losses, learning rates and scores of one or several trainings as one picture.

python tools/curves.py work_dirs/deeplabv3plus_r101_voc
deeplab curves work_dirs/first work_dirs/second --out curves.pdf
"""

import argparse
from pathlib import Path

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..visualization.curves import curves_figure, read_curves
from .compare import names_of

FORMATS = ('.png', '.pdf', '.svg', '.jpg')


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, read the logs, draw."""
    parser = argparse.ArgumentParser(description='Draw losses and scores of trainings.')
    parser.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='work dir of a training')
    parser.add_argument('--out', type=Path, default=Path('curves.png'), help='picture to write (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.out.suffix not in FORMATS:
        raise UserError(f'--out {args.out}: name a picture, {", ".join(FORMATS)}')
    names = names_of(args.runs)
    runs = {name: read_curves(path) for name, path in zip(names, args.runs, strict=True)}
    with atomic_write(args.out) as file:
        curves_figure(runs).savefig(file, format=args.out.suffix[1:], dpi=120)
    for name, run in runs.items():
        for score, (steps, values) in run.scores.items():
            best = max(range(len(values)), key=values.__getitem__)
            print(f'{name}: {score} {values[-1]:.2f} at {steps[-1]}, best {values[best]:.2f} at {steps[best]}')
    print(f'picture: {args.out}')
