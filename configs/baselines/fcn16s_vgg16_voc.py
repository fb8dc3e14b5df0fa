# Baseline: FCN-16s with the data and schedule of deeplabv2_vgg16_voc. No DeepLab paper gives a figure; docs/configs.md.
# python tools/train.py configs/baselines/fcn16s_vgg16_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '../_base_/models/fcn16s_vgg16.py',
    '../_base_/datasets/voc12_aug_v1.py',
    '../_base_/schedules/poly_20k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_dataloader = dict(batch_size=10)
