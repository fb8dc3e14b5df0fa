"""Write a network for other runtimes: the same as `deeplab export`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('export')
