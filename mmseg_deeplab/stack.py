"""The OpenMMLab packages that this package stands on: which are installed, and a quiet first import of them.

The packages exist twice under the same import names, so exactly one of the two sets may be installed. This module
needs the standard library only; setup.py reads the supported ranges from here.
"""

import contextlib
import importlib
import importlib.metadata
import io
import re
import warnings
from collections.abc import Iterable

# Stack -> distribution -> (lowest supported version, first unsupported version).
STACKS = {
    'onedl': {
        'onedl-mmsegmentation': ('1.4.2', '1.5'),
        'onedl-mmengine': ('0.10.12', '0.11'),
        'onedl-mmcv': ('2.3.6', '2.4'),
    },
    'openmmlab': {
        'mmsegmentation': ('1.2.2', '1.3'),
        'mmengine': ('0.10.7', '0.11'),
        'mmcv': ('2.1.0', '2.2'),
    },
}

# Warnings of the stack about its own code, at every use and nothing that a user of it could change.
_NOISE = (
    'When align_corners=True, the output would more aligned',  # the releases' resize; sizes are n*x+1 where it matters
    '`broadcast_buffers` is deprecated',  # MMEngine's wrapper for distributed training passes it
)

_COMMANDS = {
    'onedl': "pip install -e '.[onedl]'",
    'openmmlab': "pip install torch 'setuptools<81' wheel && pip install --no-build-isolation -e '.[openmmlab]'",
}


def requirements(stack: str) -> list[str]:
    """Return the requirement strings of one stack ('onedl' or 'openmmlab')."""
    return [f'{name}>={low},<{high}' for name, (low, high) in STACKS[stack].items()]


def check_stack() -> str:
    """Return the name of the installed stack, 'onedl' or 'openmmlab'.

    Raises:
        ImportError: neither stack is installed, or parts of both are, or one is incomplete or of a version outside
            the supported range. The message says what is installed, what is needed and the command that mends it.
    """
    found = {stack: installed(names) for stack, names in STACKS.items()}
    present = [stack for stack in STACKS if found[stack]]
    if not present:
        raise ImportError(_message('no OpenMMLab stack is installed', found, 'onedl'))
    if len(present) > 1:
        names = ' '.join(name for stack in present for name in found[stack])
        raise ImportError(
            _message('two OpenMMLab stacks share one environment and overwrite each other', found, 'onedl', names)
        )
    stack = present[0]
    for name, (low, high) in STACKS[stack].items():
        version = found[stack].get(name)
        if version is None:
            raise ImportError(_message(f'{name} is not installed', found, stack))
        if not numbers(low) <= numbers(version) < numbers(high):
            raise ImportError(_message(f'{name} {version} is not supported', found, stack))
    return stack


def import_stack() -> None:
    """Import MMSegmentation once, without what it says to everybody and no user of DeepLab can act on.

    The forks print 'Could not import OneDL' (an optional package of theirs) at every import, and without mmcv's
    compiled operators both warn about MultiScaleDeformableAttention, which no DeepLab uses. Everything else that the
    import prints is passed on. Warnings of `_NOISE` are ignored from then on.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
            for room in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
                importlib.import_module(f'mmseg.{room}')
    finally:
        for line in said.getvalue().splitlines():
            if 'Could not import OneDL' not in line:
                print(line)
    for message in _NOISE:
        warnings.filterwarnings('ignore', message=message)


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those of the distributions that are installed."""
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def numbers(version: str) -> tuple[int, ...]:
    """'2.1.0+cpu' -> (2, 1, 0)."""
    return tuple(int(number) for number in re.findall(r'\d+', version.split('+')[0])[:3])


def _message(problem: str, found: dict, stack: str, remove: str = '') -> str:
    installed = ', '.join(f'{name} {version}' for names in found.values() for name, version in names.items())
    command = f'pip uninstall -y {remove} && {_COMMANDS[stack]}' if remove else _COMMANDS[stack]
    return (
        f'mmseg_deeplab can not start: {problem}.\n'
        f'  installed: {installed or "none of them"}\n'
        f'  needed:    {", ".join(requirements("onedl"))}\n'
        f'  or:        {", ".join(requirements("openmmlab"))}\n'
        f"  command, in the repository's folder: {command}"
    )
