# v2, table of ResNet-101 components on VOC 2012 val: none, 68.72 mIoU.
_base_ = '../deeplabv2_r101_voc.py'
model = dict(multi_scale_inputs=(1.0,), decode_head=dict(rates=()))
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
