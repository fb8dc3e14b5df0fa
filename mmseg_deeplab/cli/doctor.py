"""Say what is installed, what the machine offers, what is missing and the command that mends it.

python tools/doctor.py

Works where the OpenMMLab stack, or even PyTorch, is missing or wrong. Ends with exit code 1 if something that is needed
is not there.
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..stack import STACKS, check_stack, import_stack, installed, numbers

NAME = 'mmseg_deeplab'
NOT_SHOWN = ('test', *STACKS)
"""Extras that are no features: the tests' packages, and the two stacks, which are checked together."""


@dataclass
class Finding:
    """One line: what was looked at, what was found, and what to do about it where that is not in order."""

    name: str
    found: str
    mend: str = ''
    needed: bool = False


def main(argv: list[str] | None = None) -> None:
    """Print the findings; exit code 1 if something needed is missing."""
    argparse.ArgumentParser(description='Say what is installed and what is missing.').parse_args(argv)
    missing = []
    for finding in findings():
        first, *more = f'{finding.name:<16}{finding.found}'.splitlines()
        print('\n'.join([first, *(f'{"":<16}{line.strip()}' for line in more)]))
        if finding.mend:
            print(f'{"":<16}-> {finding.mend}')
        if finding.needed and finding.mend:
            missing.append(finding.name)
    print()
    if missing:
        sys.exit(f'not ready: see {", ".join(missing)}')
    print('ready')


def findings() -> Iterator[Finding]:
    """All that is looked at, in order; each by itself, so that nothing keeps the others from being told."""
    yield Finding('mmseg_deeplab', f'{__version__}, {Path(__file__).resolve().parents[1]}')
    yield Finding('Python', f'{platform.python_version()}, {sys.executable}')
    yield Finding('system', platform.platform())
    yield from _packages()
    yield _stack()
    yield from _torch()
    yield _processor()
    yield from _crf()
    yield from _extras()


def _packages() -> Iterator[Finding]:
    required = _requirements('')
    if not required:
        yield Finding('packages', f'{NAME} was not installed by pip, so that its requirements are not known')
    wrong = [problem for line in required if (problem := _problem(line))]
    if wrong:
        command = ' '.join(f"'{line}'" for line in required if _problem(line))
        yield Finding('packages', ', '.join(wrong), f'pip install {command}', needed=True)
    elif required:
        yield Finding('packages', f'all {len(required)} that are required')


def _stack() -> Finding:
    found = {name: version for names in STACKS.values() for name, version in installed(names).items()}
    text = ', '.join(f'{name} {version}' for name, version in found.items()) or 'none installed'
    try:
        stack = check_stack()
    except ImportError as error:
        command = str(error).rpartition('folder: ')[2]
        problem = str(error).splitlines()[0].partition(': ')[2]
        return Finding('OpenMMLab', f'{text}\n{problem}\nthe dense CRF alone works without', command, needed=True)
    try:
        import_stack()
    except Exception as error:  # whatever keeps it from being imported is what is wrong with it
        mend = "pip install 'setuptools<81'" if 'pkg_resources' in str(error) else f"pip install '.[{stack}]'"
        return Finding('OpenMMLab', f'{text}\ncan not be imported: {type(error).__name__}: {error}', mend, needed=True)
    return Finding('OpenMMLab', f'{text} (stack {stack})')


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding('torch', f'can not be imported: {error}', 'pip install torch', needed=True)
        return
    cuda = torch.version.cuda or getattr(torch.version, 'hip', None)
    yield Finding('torch', f'{torch.__version__}, {f"for GPUs ({cuda})" if cuda else "for CPUs"}')
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            yield Finding(f'cuda:{number}', f'{about.name}, {about.total_memory / 2**30:.0f} GiB')
    elif shutil.which('nvidia-smi'):
        mend = 'see what `nvidia-smi` says of the driver' if cuda else 'install a build of torch for GPUs (pytorch.org)'
        yield Finding('GPU', 'the machine seems to have one, torch can not use it', mend)
    else:
        yield Finding('GPU', 'none')


def _processor() -> Finding:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    about = Path('/proc/cpuinfo')
    text = about.read_text(errors='replace') if about.is_file() else ''
    model = re.search(r'^model name\s*:\s*(.*)', text, re.MULTILINE)
    name = model[1] if model else platform.processor() or platform.machine()
    line = f'{name}, {cpus} CPUs for this process'
    flags = re.search(r'^flags\s*:\s*(.*)', text, re.MULTILINE)
    if flags:
        has = set(flags[1].split())
        features = {'AVX2': {'avx2'}, 'AVX-512': {'avx512f'}, 'bf16 units': {'avx512_bf16', 'amx_bf16'}}
        line += '\n' + ', '.join(f'{name}: {"yes" if has & any_of else "no"}' for name, any_of in features.items())
    return Finding('processor', line)


def _crf() -> Iterator[Finding]:
    try:
        native = importlib.import_module('..crf.native', __package__)
        pydensecrf = importlib.import_module('..crf.pydensecrf', __package__)
    except (ImportError, OSError) as error:
        yield Finding('dense CRF', f'can not be imported: {error}', 'mend what is said above', needed=True)
        return
    again = f'pip install --force-reinstall --no-deps {NAME}, or in a clone pip install -e .'
    try:
        built = f'built, {native.instruction_set()}' if native.is_available() else ''
    except AttributeError as error:  # a library that was built before the sources changed lacks a function
        yield Finding('CRF native', f'is not of this version: {error}', again, needed=True)
    else:
        has_compiler = shutil.which('c++') or shutil.which('g++') or shutil.which('clang++')
        compiler = '' if has_compiler else 'install a C++ compiler (g++ or clang++), then '
        missing = 'not built: the CRF takes its torch backend'
        yield Finding('CRF native', built or missing, '' if built else compiler + again)
    yield Finding('CRF torch', 'always there')
    there = pydensecrf.is_installed()
    yield Finding('CRF pydensecrf', 'installed' if there else 'not installed (a reference, slower than native)')


def _extras() -> Iterator[Finding]:
    try:
        extras = importlib.metadata.metadata(NAME).get_all('Provides-Extra') or []
    except importlib.metadata.PackageNotFoundError:
        return
    for extra in sorted(set(extras) - set(NOT_SHOWN)):
        wrong = [problem for line in _requirements(extra) if (problem := _problem(line))]
        mend = f"pip install '{NAME}[{extra}]', or in a clone pip install -e '.[{extra}]'" if wrong else ''
        yield Finding(f'[{extra}]', ', '.join(wrong) or 'installed', mend)


def _requirements(extra: str) -> list[str]:
    """What the installed package requires: the lines of one extra, or those of none."""
    try:
        lines = importlib.metadata.requires(NAME) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        requirement, _, marker = (part.strip() for part in line.partition(';'))
        named = re.search(r'extra\s*==\s*[\'"]([\w.-]+)', marker)
        if (named[1] if named else '') == extra:
            found.append(requirement)
    return found


def _problem(requirement: str) -> str:
    """What is wrong with a requirement such as 'torch>=2.10', '' if it is met."""
    match = re.match(r'([\w.-]+)(?:\[[^]]*\])?\s*(?:>=\s*([\w.]+))?', requirement)
    assert match
    name, lowest = match.groups()
    version = installed([name]).get(name)
    if version is None:
        return f'{name} is not installed'
    return f'{name} {version} is older than {lowest}' if lowest and numbers(version) < numbers(lowest) else ''
