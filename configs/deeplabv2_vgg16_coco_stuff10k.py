# COCO-Stuff 10k, its authors' README: DeepLab v2 with VGG-16, 26.9 mIoU.
# python tools/train.py configs/deeplabv2_vgg16_coco_stuff10k.py
# One device, batch 10, 100000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_vgg16.py',
    '_base_/datasets/coco_stuff10k.py',
    '_base_/schedules/poly_100k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(mean=[104.5, 114.6, 120.6], test_cfg=dict(size=(641, 641))),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomScale']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
