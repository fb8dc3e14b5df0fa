"""Generate the demo dataset: the same as `deeplab make-demo-dataset`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('make-demo-dataset')
