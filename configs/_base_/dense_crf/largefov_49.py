_base_ = '../../../mmseg_deeplab/crf/presets/largefov_49.py'
