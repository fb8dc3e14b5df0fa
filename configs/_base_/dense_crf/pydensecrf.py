_base_ = '../../../mmseg_deeplab/crf/presets/pydensecrf.py'
