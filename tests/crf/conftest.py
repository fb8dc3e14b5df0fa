from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='session')
def photographs(real_data: Path) -> list[np.ndarray]:
    """Five real photographs: four at a third of their size, the last whole."""
    paths = sorted((real_data / 'voc2012_animals' / 'JPEGImages').glob('*.jpg'))[::110][:5]
    assert len(paths) == 5
    images = [Image.open(path).convert('RGB') for path in paths]
    return [np.array(image.reduce(3)) for image in images[:4]] + [np.array(images[4])]
