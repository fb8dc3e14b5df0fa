_base_ = '../../../mmseg_deeplab/crf/presets/v2_r101_drsleep.py'
