_base_ = '../../../mmseg_deeplab/crf/presets/v1_older.py'
