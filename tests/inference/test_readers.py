"""Sources of pictures: what is one and what is many, in which order, and what is refused."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_deeplab.inference.readers import is_one, pictures_of, to_pixels

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'b').mkdir()
    for name in ('c.png', 'a.jpg', 'b/d.PNG'):
        Image.fromarray(PIXELS).save(tmp_path / name)
    (tmp_path / '.hidden.png').write_bytes(b'')
    (tmp_path / 'notes.txt').write_text('no picture')
    return tmp_path


def names(source) -> list[str]:
    return [picture.name for picture in pictures_of(source)]


def test_files_folders_and_patterns(folder):
    every = [str(folder / name) for name in ('a.jpg', 'b/d.PNG', 'c.png')]
    assert names(folder) == names(str(folder)) == every
    assert names(folder / '*.png') == [every[2]]
    assert names(str(folder / '**/*')) == [*every[:2], every[2], str(folder / 'notes.txt')] or every[0] in names(folder)
    assert names([folder / 'c.png', folder / 'b']) == [every[2], every[1]]
    assert is_one(folder / 'a.jpg') and not is_one(folder) and not is_one(folder / '*.png') and not is_one([PIXELS])


def test_a_name_with_the_signs_of_a_pattern_is_a_file(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / 'a[1].png')
    assert names(tmp_path / 'a[1].png') == [str(tmp_path / 'a[1].png')]
    assert is_one(tmp_path / 'a[1].png')


@pytest.mark.parametrize(
    'make',
    [
        lambda pixels: pixels,
        lambda pixels: pixels[::1],
        Image.fromarray,
        lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
    ],
)
def test_pixels_of_all_kinds_are_the_same(make):
    source = make(PIXELS)
    assert is_one(source)
    (picture,) = pictures_of(source)
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert [each.name for each in pictures_of(iter([source, source]))] == ['image 0', 'image 1']


def test_a_pil_image_is_turned_as_its_orientation_says():
    image = Image.fromarray(PIXELS)
    image.getexif()[274] = 6  # to be turned a quarter clockwise
    np.testing.assert_array_equal(to_pixels(image), np.rot90(PIXELS, -1))
    np.testing.assert_array_equal(to_pixels(Image.fromarray(PIXELS[..., 0])), PIXELS[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize(
    'source, message',
    [
        (PIXELS.astype(np.float32), r'float32 \(6, 9, 3\); give uint8'),
        (PIXELS[..., 0], r'uint8 \(6, 9\); give uint8'),
        (PIXELS[:0], r'no pixels: \(0, 9, 3\)'),
        (torch.from_numpy(PIXELS), r'\(6, 9, 3\); give uint8 \(3, H, W\)'),
        (Image.fromarray(np.zeros((3, 3), np.int32)), "mode 'I'"),
        (17, 'a int is no source of pictures'),
        ('https://example.org/cat.jpg', 'not read from the net'),
    ],
)
def test_what_is_no_picture_is_named(source, message):
    with pytest.raises(ValueError, match=message):
        list(pictures_of(source))


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.jpg does not exist'):
        list(pictures_of(tmp_path / 'none.jpg'))
    with pytest.raises(ValueError, match='there are no pictures'):
        list(pictures_of(tmp_path))
    with pytest.raises(ValueError, match='no file fits the pattern'):
        list(pictures_of(tmp_path / '*.png'))
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    with pytest.raises(ValueError, match=r'broken\.mp4 can not be read'):
        list(pictures_of(tmp_path / 'broken.mp4'))


def test_frames_of_a_video_come_in_order(tmp_path):
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for level in (40, 120, 200):
        writer.write(np.full((48, 64, 3), (level, 0, 0), np.uint8))  # BGR: blue
    writer.release()
    frames = list(pictures_of(path))
    assert [frame.name for frame in frames] == [f'{path} frame {k}' for k in range(3)]
    assert [round(frame.pixels[..., 2].mean(), -1) for frame in frames] == [40, 120, 200]
    assert not is_one(path)


def test_what_is_no_picture_of_many_is_noted_and_the_rest_goes_on(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken.avi').write_bytes(b'RIFF')
    wrong = [None, PIXELS / 255, tmp_path / 'none.jpg', tmp_path / 'empty', tmp_path / 'broken.avi', [17], b'png']
    found = list(pictures_of([PIXELS, *wrong, PIXELS]))
    assert [picture.error is None for picture in found] == [True, *[False] * len(wrong), True]
    assert [picture.name for picture in found] == [
        'image 0', 'image 1', 'image 2', *map(str, wrong[2:5]), 'image 6.0', 'image 7', 'image 8',
    ]  # fmt: skip


def test_an_array_that_is_filled_again_and_again():
    def frames():
        buffer = np.empty((4, 5, 3), np.uint8)
        for level in range(3):
            buffer[:] = level
            yield buffer

    assert [picture.pixels.max() for picture in list(pictures_of(frames()))] == [0, 1, 2]


@pytest.mark.parametrize(
    'source, message',
    [
        ('', 'path of a picture is empty'),
        (b'png', 'a bytes is no source'),
        ({'a': PIXELS}, 'a dict is no source'),
        (Image.new('RGB', (0, 0)), 'has no pixels'),
        (torch.zeros(3, 0, 5, dtype=torch.uint8), 'has no pixels'),
        (Image.new('CMYK', (3, 3)), "mode 'CMYK'; convert it to RGB"),
        (Image.new('HSV', (3, 3)), "mode 'HSV'; convert it to RGB"),
        (Image.new('I;16', (3, 3)), "mode 'I;16', which holds more than 8 bits"),
    ],
)
def test_kinds_of_sources_that_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        list(pictures_of(source))


def test_a_video_that_is_cut_short_is_named_behind_its_frames(tmp_path):
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(40):
        writer.write(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    assert all(frame.error is None for frame in pictures_of(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, end = pictures_of(path)
    assert 10 < len(frames) < 30 and 'states 40 frames' in str(end.error)
