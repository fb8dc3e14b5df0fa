"""Search the dense CRF's parameters: the same as `deeplab crf-search`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('crf-search')
