_base_ = '../../../mmseg_deeplab/crf/presets/fast.py'
