_base_ = '../../../mmseg_deeplab/crf/presets/v2_vgg16.py'
