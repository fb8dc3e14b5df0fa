# v2 on COCO-Stuff 164k: as poly_20k, 100k iterations.
_base_ = './poly_20k.py'
train_cfg = dict(max_iters=100000, val_interval=10000)
