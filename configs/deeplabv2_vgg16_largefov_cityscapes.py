# v2, Cityscapes val: VGG-16 at full resolution, 64.89 mIoU, 65.94 after the CRF.
# python tools/train.py configs/deeplabv2_vgg16_largefov_cityscapes.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_vgg16.py',
    '_base_/datasets/cityscapes_v2.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    test_cfg=dict(mode='slide', crop_size=(513, 513), stride=(341, 341)),  # overlap as in v2, sizes are ours
    decode_head=dict(rates=(12,)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
