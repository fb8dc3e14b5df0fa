# v2 with ResNet-101 and its CRF as one network, from a finished deeplabv2_r101_voc; no published figure (77.69 apart).
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/voc12_aug_v2.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=(513, 513))),
    decode_head=dict(num_classes=_base_.num_classes),
    crf=dict(iterations=5, learn=True, pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3),
)
load_from = 'work_dirs/deeplabv2_r101_voc/iter_20000.pth'
optim_wrapper = dict(optimizer=dict(lr=2.5e-5), paramwise_cfg=dict(crf_lr_mult=400))
