# COCO-Stuff 10k, its authors' README: DeepLab v2 with VGG-16, 26.9 mIoU.
_base_ = [
    '_base_/models/deeplabv2_vgg16.py',
    '_base_/datasets/coco_stuff10k.py',
    '_base_/schedules/poly_100k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[104.5, 114.6, 120.6], size=_base_.crop_size, test_cfg=dict(size=(641, 641))),
    decode_head=dict(num_classes=_base_.num_classes),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
