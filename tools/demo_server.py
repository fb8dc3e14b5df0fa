"""Show networks on a page in the browser: the same as `deeplab demo-server`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('demo-server')
