# v2 with VGG-16 and CRF as one, from a finished deeplabv2_vgg16_voc; no published figure (71.57 mIoU on val apart).
# python tools/train.py configs/deeplabv2_vgg16_crf_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = './deeplabv2_vgg16_voc.py'
model = dict(crf=dict(iterations=5, learn=True, pos_w=2, pos_xy_std=2, bi_w=4, bi_xy_std=65, bi_rgb_std=3))
load_from = 'work_dirs/deeplabv2_vgg16_voc/iter_20000.pth'
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(crf_lr_mult=100))
