import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# The supported versions are written once, next to the check that runs at import.
requirements = runpy.run_path(str(ROOT / 'mmseg_deeplab' / 'stack.py'))['requirements']

setup(
    name='mmseg_deeplab',
    version='0.1.0',
    description='The whole DeepLab family and its dense CRF as an MMSegmentation plugin',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmseg_deeplab', 'mmseg_deeplab.*']),
    package_data={'mmseg_deeplab': ['py.typed'], 'mmseg_deeplab.visualization': ['*.html']},
    entry_points={'console_scripts': ['deeplab = mmseg_deeplab.cli:main']},
    install_requires=[
        'torch>=2.10',  # older ones have a way through their reading of weights alone (CVE-2026-24747)
        'numpy>=1.24',
        'opencv-python',
        'Pillow',
        'matplotlib',
        'fonttools',
        'scipy',
        'safetensors',
        'jinja2',
        'prettytable',
        'rich',
        # MMSegmentation imports these two and does not declare them.
        'ftfy',
        'regex',
    ],
    extras_require={
        # Exactly one of the two stacks: they share their import names.
        'onedl': requirements('onedl'),
        # mmcv 2.1.0 and mmengine 0.10.7 import pkg_resources, which newer setuptools no longer bring.
        'openmmlab': [*requirements('openmmlab'), 'setuptools<81'],
        'crf': ['pydensecrf2>=1.1'],
        'test': ['pytest', 'pytest-xdist', 'ruff', 'ty'],
    },
)
