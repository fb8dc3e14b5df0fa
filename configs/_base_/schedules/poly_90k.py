# v3, section 4.2: as poly_30k, for Cityscapes.
_base_ = './poly_30k.py'
train_cfg = dict(max_iters=90000, val_interval=9000)
