# Cityscapes as DeepLab v2 trains on it: full resolution, scales 0.5 to 1.5, batch 10 (1606.00915, section 4.4). The
# paper does not name the crop; it is that of its other datasets.
_base_ = './cityscapes.py'
crop_size = (321, 321)
train_pipeline = [*_base_.load, _base_.scale_v2, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
