# PASCAL VOC 2012 trainaug as DeepLab v2 trains on it: scales 0.5 to 1.5, crop 321, flip, batch 10 (1606.00915,
# section 4.1, and its released prototxt files; the VGG-16 ones without scaling).
_base_ = './voc12_aug.py'
crop_size = (321, 321)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadLabels', num_classes=21),
    dict(type='RandomScale', scales=(0.5, 0.75, 1.0, 1.25, 1.5)),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
