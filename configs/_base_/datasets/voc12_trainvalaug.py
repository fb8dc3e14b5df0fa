# PASCAL VOC 2012 with SBD, trainaug and val together (12031 images): DeepLab v1 (solver2) and v2 for the test server.
# tools/prepare_dataset.py voc-aug writes trainvalaug.txt.
_base_ = './voc12_aug.py'

train_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/trainvalaug.txt'))
