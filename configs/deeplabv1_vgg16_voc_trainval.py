# v1, test server: LargeFOV after the CRF, 70.3 mIoU on VOC 2012 test; trained on from the result on trainaug.
# python tools/train.py configs/deeplabv1_vgg16_voc_trainval.py
# One device, batch 30, 8000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/voc12_aug_v1.py',
    '_base_/schedules/step_8k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
)
load_from = 'work_dirs/deeplabv1_vgg16_voc/iter_6000.pth'
train_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/trainvalaug.txt'))
