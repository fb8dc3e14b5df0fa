# Progressive resizing, first part: as deeplabv3plus_mobilenetv2_voc_animals_600 at half the size. No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_half.py
# One device, batch 8, 400 iterations; time and score: docs/records.md. Then deeplabv3plus_mobilenetv2_voc_animals_full.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
crop_size = (129, 129)
train_pipeline = [
    *_base_.load,
    dict(type='RandomScale', scales=(0.25, 0.375, 0.5, 0.625)),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='PhotoMetricDistortion'),
    *_base_.flip,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(crop_size=crop_size)
train_cfg = dict(max_iters=400, val_interval=400)
