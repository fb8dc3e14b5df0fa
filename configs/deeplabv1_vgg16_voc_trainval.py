# v1, test server: LargeFOV after the CRF, 70.3 mIoU on VOC 2012 test; trained on from the result on trainaug.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/voc12_aug_v1.py',
    '_base_/schedules/step_8k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=(513, 513))),
    decode_head=dict(num_classes=_base_.num_classes),
)
load_from = 'work_dirs/deeplabv1_vgg16_voc/iter_6000.pth'
train_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/trainvalaug.txt'))
