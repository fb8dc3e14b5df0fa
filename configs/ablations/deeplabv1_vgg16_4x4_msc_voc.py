# v1, Table 1: MSc on 4x4, VOC 2012 val, 61.30 mIoU, 65.21 after the CRF.
# python tools/train.py configs/ablations/deeplabv1_vgg16_4x4_msc_voc.py
# One device, batch 20, 6000 iterations; time and score are not measured here.
_base_ = '../deeplabv1_vgg16_msc_voc.py'
first_phase = 'work_dirs/deeplabv1_vgg16_4x4_voc/iter_6000.pth'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=first_phase)),
    decode_head=dict(variant='4x4', init_cfg=dict(checkpoint=first_phase)),
)
train_dataloader = dict(batch_size=20)
auto_scale_lr = dict(base_batch_size=20)
