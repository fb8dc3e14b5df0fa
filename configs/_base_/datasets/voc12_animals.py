# The part of PASCAL VOC 2012 that shows animals: 437 images of the official train list, 150 of val, in VOC's layout,
# judged by the seven classes that they cover: background, cat, cow, dog, horse, person, sheep (docs/results.md).
# Crop and scales of short trainings on a CPU: in a small crop, large scales leave little of an object.
_base_ = './voc12.py'
data_root = 'data/VOC2012_animals'
crop_size = (257, 257)
train_pipeline = [
    *_base_.load,
    dict(type='RandomScale', scales=(0.5, 0.75, 1.0, 1.25)),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='PhotoMetricDistortion'),
    *_base_.flip,
]
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(class_subset=['background', 'cat', 'cow', 'dog', 'horse', 'person', 'sheep'])
test_evaluator = val_evaluator
