"""Average the weights of several checkpoints: the same as `deeplab average`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('average')
