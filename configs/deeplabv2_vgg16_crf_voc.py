# v2 with VGG-16 and CRF as one, from a finished deeplabv2_vgg16_voc; no published figure (71.57 mIoU on val apart).
# python tools/train.py configs/deeplabv2_vgg16_crf_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_vgg16.py',
    '_base_/datasets/voc12_aug_v1.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
    crf=dict(iterations=5, learn=True, pos_w=2, pos_xy_std=2, bi_w=4, bi_xy_std=65, bi_rgb_std=3),
)
load_from = 'work_dirs/deeplabv2_vgg16_voc/iter_20000.pth'
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(crf_lr_mult=100))
train_dataloader = dict(batch_size=10)
