"""Draw what the dense CRF does to one image: the same as `deeplab crf-visualize`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('crf-visualize')
