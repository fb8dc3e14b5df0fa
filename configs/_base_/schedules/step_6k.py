# v1, release (solver): lr 1e-3 / 10 every 2000 of 6000 iterations; classifier x 10, biases x 2 and without decay.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='DeepLabOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(classifier_lr_mult=10, bias_lr_mult=2, bias_decay_mult=0),
)
param_scheduler = [dict(type='StepLR', step_size=2000, gamma=0.1, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6000, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=30)
