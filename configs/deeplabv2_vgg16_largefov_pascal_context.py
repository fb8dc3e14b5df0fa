# v2, PASCAL-Context val: VGG-16, 37.6 mIoU, 39.6 after the CRF.
# python tools/train.py configs/deeplabv2_vgg16_largefov_pascal_context.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_vgg16.py',
    '_base_/datasets/pascal_context.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
    decode_head=dict(rates=(12,)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
