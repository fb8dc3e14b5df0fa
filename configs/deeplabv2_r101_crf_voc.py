# v2 with ResNet-101 and CRF as one, from a finished deeplabv2_r101_voc; no published figure (77.69 mIoU on val apart).
# python tools/train.py configs/deeplabv2_r101_crf_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = './deeplabv2_r101_voc.py'
model = dict(crf=dict(iterations=5, learn=True, pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3))
load_from = 'work_dirs/deeplabv2_r101_voc/iter_20000.pth'
optim_wrapper = dict(optimizer=dict(lr=2.5e-5), paramwise_cfg=dict(crf_lr_mult=400))
