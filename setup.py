import os
import platform
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent
# The supported versions are written once, next to the check that runs at import.
requirements = runpy.run_path(str(ROOT / 'mmseg_deeplab' / 'stack.py'))['requirements']

NATIVE = 'mmseg_deeplab/crf/native'
CONFIGS = {
    '.'.join(['mmseg_deeplab', *folder.relative_to(ROOT).parts]): folder.relative_to(ROOT).as_posix()
    for folder in sorted({path.parent for path in (ROOT / 'configs').rglob('*.py')})
}
COMMON = ['-std=c++17', '-O3', '-fPIC', '-fno-math-errno', '-fno-trapping-math', '-Wno-psabi']
# The inner loops are compiled for each of these; which one runs is decided on the machine it runs on.
INSTRUCTION_SETS = {'baseline': []}
if platform.machine() in ('x86_64', 'AMD64'):
    INSTRUCTION_SETS['avx2'] = ['-mavx2', '-mfma']
    INSTRUCTION_SETS['avx512'] = [
        *INSTRUCTION_SETS['avx2'],
        *('-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mprefer-vector-width=512'),
    ]


class BuildNative(build_ext):
    """Compiles the dense CRF's kernel: a plain C library, loaded by ctypes, that no installation depends on."""

    def get_ext_filename(self, fullname):
        return fullname.replace('.', '/') + '.so'

    def get_export_symbols(self, ext):
        return []

    def build_extension(self, ext):
        compiler = self.compiler
        if compiler.compiler_type != 'unix':
            raise CompileError('the native dense CRF needs GCC or Clang')  # which an optional extension survives
        folder = Path(self.build_temp)

        def compile_kernels(kind: tuple[str, str, str]) -> list[str]:
            name, source, contraction = kind
            return compiler.compile(
                [f'{NATIVE}/{source}.cpp'],
                output_dir=str(folder / name),
                macros=[('DCRF_ISA', name)],
                extra_postargs=[*COMMON, *INSTRUCTION_SETS[name], f'-ffp-contract={contraction}'],
                depends=ext.depends,
            )

        kinds = [(name, *rest) for name in INSTRUCTION_SETS for rest in (('kernels', 'fast'), ('elevate', 'off'))]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            objects = sum(threads.map(compile_kernels, kinds), [])
        objects += compiler.compile(ext.sources, output_dir=str(folder), extra_postargs=COMMON, depends=ext.depends)
        compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=['-pthread'], target_lang='c++'
        )


setup(
    name='mmseg_deeplab',
    version='0.1.0',
    description='The whole DeepLab family and its dense CRF as an MMSegmentation plugin',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    # The wheel holds the configs inside of the package, in the same tree, so that each finds its bases.
    packages=[*find_packages(include=['mmseg_deeplab', 'mmseg_deeplab.*']), *CONFIGS],
    package_dir=CONFIGS,
    package_data={
        'mmseg_deeplab': ['py.typed'],
        'mmseg_deeplab.crf': ['native/*.cpp', 'native/*.h'],
        'mmseg_deeplab.visualization': ['*.html'],
    },
    entry_points={'console_scripts': ['deeplab = mmseg_deeplab.cli:main']},
    ext_modules=[
        Extension(
            'mmseg_deeplab.crf.native._dcrf',
            [f'{NATIVE}/{name}.cpp' for name in ('lattice', 'context', 'active', 'filter', 'cache', 'api')],
            depends=sorted(map(str, Path(NATIVE).glob('*.h'))),
            language='c++',
            optional=True,
        )
    ],
    cmdclass={'build_ext': BuildNative},
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
        'albumentations': ['albumentations>=2.0'],  # augmentations of the transform `Albu`
        'crf': ['pydensecrf2>=1.1'],
        'export': ['onnx', 'onnxruntime'],
        'h5': ['h5py'],  # checkpoints of Keras
        'large': ['tifffile>=2023.1.23', 'imagecodecs'],  # TIFFs by strips and tiles, and their compressions
        'sam': ['transformers>=4.40'],  # the Segment Anything Model of `SAMRefiner`
        'tensorboard': ['tensorboard'],
        'timm': ['timm>=1.0'],  # encoders of `TimmEncoder`
        'web': ['gradio>=6'],  # the page of `deeplab demo-server`
        'test': ['pytest', 'pytest-xdist', 'hypothesis', 'slipcover', 'ruff', 'ty'],
    },
)
