# As poly_30k, for small datasets.
_base_ = './poly_30k.py'
train_cfg = dict(max_iters=10000, val_interval=1000)
