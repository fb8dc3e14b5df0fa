# v2, Table 1: LargeFOV on VGG-16, poly policy, batch 30, 10k iterations, 64.90 mIoU on VOC 2012 val (step: 62.25).
# python tools/train.py configs/ablations/deeplabv1_vgg16_voc_poly_10k_batch30.py
# One device, batch 30, 10000 iterations; time and score are not measured here.
_base_ = '../deeplabv1_vgg16_voc.py'
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
train_cfg = dict(max_iters=10000)
