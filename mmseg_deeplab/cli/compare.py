"""Set several evaluations side by side: tables and one picture.

python tools/test.py CONFIG CHECKPOINT --report reports/a
python tools/test.py CONFIG CHECKPOINT --report reports/b --crf
python tools/compare.py reports/a reports/b --out comparison
"""

import argparse
import io
from pathlib import Path

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..evaluation.results import FILE, read_results
from ..visualization.comparison import as_csv, as_html, as_markdown, comparison_figure


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, read the reports, write the comparison."""
    parser = argparse.ArgumentParser(description='Set several evaluations side by side.')
    parser.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='folder that `test --report` wrote')
    parser.add_argument('--out', type=Path, default=Path('comparison'), help='folder to write (default: %(default)s)')
    args = parser.parse_args(argv)
    results = [read_results(path) for path in args.runs]
    runs = dict(zip(names_of(args.runs), results, strict=True))
    buffer = io.BytesIO()
    comparison_figure(runs).savefig(buffer, format='png', dpi=110)
    markdown = as_markdown(runs)
    for name, content in {
        'comparison.png': buffer.getvalue(),
        'comparison.md': markdown.encode(),
        'comparison.csv': as_csv(runs).encode(),
        'index.html': as_html(runs, buffer.getvalue()).encode(),
    }.items():
        with atomic_write(args.out / name) as file:
            file.write(content)
    print(f'{markdown}\npage, picture and tables: {args.out}')


def names_of(paths: list[Path]) -> list[str]:
    """A short name for each run: the last part of its path, or as many as tell the runs apart.

    Raises:
        UserError: If a run is named twice.
    """
    parts = [(path.parent if path.name == FILE else path).resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise UserError(f'a run is named twice: {" ".join(map(str, paths))}')
    length = next(n for n in range(1, 1000) if len({each[-n:] for each in parts}) == len(parts))
    return ['/'.join(each[-length:]) for each in parts]
