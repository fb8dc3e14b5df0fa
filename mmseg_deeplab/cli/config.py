"""Print a ready config with the files that it is based on, or copy it for editing.

python tools/config.py
deeplab config deeplabv3plus_r101_voc
deeplab config deeplabv3plus_r101_voc --copy mine.py
"""

import argparse
from pathlib import Path

from ..checkpoints.save import atomic_write
from ..config_files import FOLDER, copy_for, read_config, ready_configs, with_bases
from ..errors import UserError


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, print or copy."""
    parser = argparse.ArgumentParser(description='Print a ready config, or copy it for editing.')
    parser.add_argument(
        'config', nargs='?', metavar='NAME', help='a ready config, a base file or a path (default: list the names)'
    )
    parser.add_argument('--copy', type=Path, metavar='FILE', help='write a copy here, whose _base_ goes on working')
    args = parser.parse_args(argv)
    if args.config is None:
        if args.copy:
            raise UserError(f'--copy {args.copy}: say which config, `deeplab config NAME --copy {args.copy}`')
        print('\n'.join(ready_configs()))
        return
    path = Path(str(read_config(args.config).filename))
    if args.copy is None:
        for each in with_bases(path):
            name = each.relative_to(FOLDER) if each.is_relative_to(FOLDER) else each
            print(f'# --- {name.as_posix()}\n{each.read_text(encoding="utf-8")}')
        return
    if args.copy.suffix != '.py':
        raise UserError(f'--copy {args.copy}: a config is a .py file, name it {args.copy.name}.py')
    if args.copy.exists():
        raise UserError(f'--copy {args.copy}: the file exists; remove it or choose another name')
    with atomic_write(args.copy) as file:
        file.write(copy_for(path, args.copy).encode())
    print(f'{args.copy} is a copy of {path}')
