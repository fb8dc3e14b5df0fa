# v3, section 4.1: poly 0.9 from 0.007, batch 16, 30k iterations. TensorFlow release: weight decay (for ResNets) on the
# weights of convolutions only, depthwise ones excepted; biases, which only the classifier has, learn twice as fast.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='DeepLabOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.007, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(bias_lr_mult=2, bias_decay_mult=0, norm_decay_mult=0, depthwise_decay_mult=0),
)
# The papers' formula: this package's PolyLR stands in the place of MMEngine's.
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=30000, val_interval=3000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
