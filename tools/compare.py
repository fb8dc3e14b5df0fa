"""Set several evaluations side by side: the same as `deeplab compare`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('compare')
