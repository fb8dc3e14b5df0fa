# What all datasets share: loading, augmentation, loaders, test-time augmentation, evaluator. The file of a dataset says
# what is special about it: classes, folders, batch, crop, and scales where they are others.
load = [dict(type='LoadImageFromFile'), dict(type='LoadLabels')]
scale = dict(type='RandomScale', scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0))  # v3 and v3+
scale_v2 = dict(type='RandomScale', scales=(0.5, 0.75, 1.0, 1.25, 1.5))
flip = [dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]

test_pipeline = [*load, dict(type='PackSegInputs')]
views = [dict(type='Resize', scale_factor=scale, keep_ratio=True) for scale in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
mirrored = [
    [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
    [dict(type='LoadLabels')],
    [dict(type='PackSegInputs')],
]
tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[views, *mirrored])]

train_dataloader = dict(
    num_workers=4, persistent_workers=True, sampler=dict(type='ResumableSampler', shuffle=True), dataset=dict()
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='SegmentationMetric')
test_evaluator = val_evaluator
