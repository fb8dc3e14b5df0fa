# v1, release (solver2): as step_6k, 8000 iterations from the result of those, on trainval.
_base_ = './step_6k.py'
train_cfg = dict(max_iters=8000)
