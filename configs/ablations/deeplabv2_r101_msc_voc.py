# v2, table of ResNet-101 components on VOC 2012 val: MSC, 71.27 mIoU.
# python tools/train.py configs/ablations/deeplabv2_r101_msc_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = '../deeplabv2_r101_voc.py'
model = dict(decode_head=dict(rates=()))
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
