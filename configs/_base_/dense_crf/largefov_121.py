_base_ = '../../../mmseg_deeplab/crf/presets/largefov_121.py'
