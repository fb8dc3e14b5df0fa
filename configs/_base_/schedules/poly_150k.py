# TensorFlow release, ADE20K: as poly_30k, 150k iterations.
_base_ = './poly_30k.py'
train_cfg = dict(max_iters=150000, val_interval=15000)
