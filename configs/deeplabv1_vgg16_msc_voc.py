# v1, Table 1: MSc-LargeFOV on VOC 2012 val, 64.21 mIoU, 68.70 after the CRF.
# The second phase, on the result of the first, deeplabv1_vgg16_voc.py: the MSc branches and fc8 learn, all at rate 1 (2
# for biases), as in the release; decode_head.frozen_fc8=True is the other reading of the paper, where fc8 does not.
# python tools/train.py configs/deeplabv1_vgg16_msc_voc.py
# One device, batch 30, 6000 iterations; time and score are not measured here.
_base_ = './deeplabv1_vgg16_voc.py'
first_phase = 'work_dirs/deeplabv1_vgg16_voc/iter_6000.pth'
model = dict(
    backbone=dict(frozen=True, init_cfg=dict(checkpoint=first_phase)),
    decode_head=dict(type='DeepLabV1MScHead', frozen=True, init_cfg=dict(checkpoint=first_phase)),
)
optim_wrapper = dict(paramwise_cfg=dict(classifier_lr_mult=1))
