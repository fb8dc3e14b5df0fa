# DeepLab v1: an older state of the authors' run_densecrf.sh (TheLegendAli/DeepLab-Context @b0b2288), which leaves the
# position kernel out of its options; here it is the paper's, section 4.
dense_crf = dict(iterations=10, pos_w=3, pos_xy_std=3, bi_w=10, bi_xy_std=60, bi_rgb_std=20)
