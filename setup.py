from pathlib import Path

from setuptools import find_packages, setup

# The OpenMMLab packages exist twice under the same import names: the maintained forks and the originals.
# Exactly one of the two sets is installed, so both are extras: pip install -e '.[onedl]' or '.[openmmlab]'.
STACKS = {
    'onedl': ['onedl-mmsegmentation>=1.4.2,<1.5', 'onedl-mmengine>=0.10.12,<0.11', 'onedl-mmcv>=2.3.6,<2.4'],
    'openmmlab': ['mmsegmentation==1.2.2', 'mmengine>=0.10.7,<0.11', 'mmcv>=2.1.0,<2.2', 'setuptools<81'],
}

setup(
    name='mmseg_deeplab',
    version='0.1.0',
    description='The whole DeepLab family and its dense CRF as an MMSegmentation plugin',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmseg_deeplab', 'mmseg_deeplab.*']),
    install_requires=[
        'torch>=2.6',
        'numpy>=1.24',
        'opencv-python',
        'Pillow',
        'matplotlib',
        'scipy',
        'safetensors',
        'ftfy',
        'regex',
    ],
    extras_require={
        **STACKS,
        'crf': ['pydensecrf2>=1.1'],
        'test': ['pytest', 'pytest-xdist', 'ruff'],
    },
)
