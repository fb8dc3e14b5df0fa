# The example in pydensecrf's README: tuned for no network in particular.
dense_crf = dict(iterations=10, pos_w=3, pos_xy_std=3, bi_w=10, bi_xy_std=80, bi_rgb_std=13)
