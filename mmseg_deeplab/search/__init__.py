"""Cross-validated search of the dense CRF's parameters; `search` works on arrays, `run` on a segmentor."""
