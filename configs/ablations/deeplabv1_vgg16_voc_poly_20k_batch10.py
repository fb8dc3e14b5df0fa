# v2, Table 1: LargeFOV on VGG-16, poly policy, batch 10, 20k iterations, 65.88 mIoU on VOC 2012 val (step: 62.25).
# python tools/train.py configs/ablations/deeplabv1_vgg16_voc_poly_20k_batch10.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = '../deeplabv1_vgg16_voc.py'
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
train_cfg = dict(max_iters=20000)
train_dataloader = dict(batch_size=10)
auto_scale_lr = dict(base_batch_size=10)
