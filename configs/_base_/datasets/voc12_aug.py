# PASCAL VOC 2012 with the extra masks of SBD: 10582 training images (trainaug), the official 1449 for validation.
# tools/prepare_dataset.py voc-aug writes SegmentationClassAug and trainaug.txt.
_base_ = './voc12.py'
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/trainaug.txt', data_prefix=dict(seg_map_path='SegmentationClassAug'))
)
