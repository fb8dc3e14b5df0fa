# A network from scratch on the demo dataset, in two or three minutes of two CPU cores.
_base_ = './poly_30k.py'
optim_wrapper = dict(optimizer=dict(lr=0.05))
train_cfg = dict(max_iters=800, val_interval=400)
auto_scale_lr = dict(base_batch_size=8)
