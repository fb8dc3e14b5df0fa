# PASCAL VOC 2012, official trainval (2913 images) for training, as in the second stage of DeepLab v3 (1706.05587,
# section 4.1): images with the hard classes are duplicated, batch norm is frozen (in the config of the experiment).
# Validation images are trained on: the result counts on the test server only.
_base_ = './voc12.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatClasses',
        classes=('bicycle', 'chair', 'diningtable', 'pottedplant', 'sofa'),
        times=2,
        dataset=dict(_base_.dataset, ann_file='ImageSets/Segmentation/trainval.txt', pipeline=_base_.train_pipeline),
    )
)
