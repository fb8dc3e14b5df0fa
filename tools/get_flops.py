"""Count parameters, multiply-adds and activations of a config's network: the same as `deeplab get-flops`."""

from mmseg_deeplab.cli import run

if __name__ == '__main__':
    run('get-flops')
