# Short fine-tuning from an ImageNet backbone: the new layers learn ten times as fast as the pretrained ones.
_base_ = './poly_30k.py'
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.005, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=10)}),
)
train_cfg = dict(max_iters=4000, val_interval=400)
auto_scale_lr = dict(base_batch_size=8)
