# v2, release: poly 0.9 from 2.5e-4 (ResNet-101; 1e-3 on VGG-16), 20k iterations; classifier x 10, biases x 2 and
# without decay.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='DeepLabOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(classifier_lr_mult=10, bias_lr_mult=2, bias_decay_mult=0),
)
# The papers' formula: this package's PolyLR stands in the place of MMEngine's.
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=20000, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=10)
