# Cityscapes as DeepLab v2 trains on it: full resolution, scales 0.5 to 1.5, batch 10 (1606.00915, section 4.4). The
# paper does not name the crop; it is that of its other datasets.
_base_ = './cityscapes.py'
crop_size = (321, 321)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadLabels', num_classes=19),
    dict(type='RandomScale', scales=(0.5, 0.75, 1.0, 1.25, 1.5)),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
