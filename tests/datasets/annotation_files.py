"""Small files of annotation tools, and the masks that they stand for, drawn by hand.

The picture is 8 x 6 pixels. In the masks `.` is the background, 0, `1` a cat, `2` a dog, `v` void.
"""

import json

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 8, 6
SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]
"""x 1 to 3, y 1 and 2."""


def drawn(*rows):
    return np.array([[{'.': 0, 'v': 255}.get(c) if c in '.v' else int(c) for c in row] for row in rows], np.uint8)


def coco(*annotations, categories=('cat', 'dog'), **image):
    """COCO's content; an annotation is of a cat unless it says otherwise."""
    return dict(
        images=[dict(dict(id=7, file_name='a.png', width=WIDTH, height=HEIGHT), **image)],
        categories=[dict(id=10 + number, name=name) for number, name in enumerate(categories)],
        annotations=[dict(dict(id=n, image_id=7, category_id=10), **entry) for n, entry in enumerate(annotations, 1)],
    )


def polygon(*parts, **others):
    return dict(segmentation=[list(part) for part in parts], **others)


def cvat(*shapes, labels=('cat', 'dog'), name='a.png', width=WIDTH, height=HEIGHT, head='<?xml version="1.0"?>'):
    labels = ''.join(f'<label><name>{label}</name><attributes></attributes></label>' for label in labels)
    return (
        f'{head}<annotations><version>1.1</version><meta><task><labels>{labels}</labels></task></meta>'
        f'<image id="0" name="{name}" width="{width}" height="{height}">{"".join(shapes)}</image></annotations>'
    )


def shape(tag, label='cat', **attributes):
    return f'<{tag} label="{label}" occluded="0" ' + ' '.join(f'{k}="{v}"' for k, v in attributes.items()) + '/>'


def studio(*results, image='/data/upload/1/0a1b2c3d-a.png', **task):
    annotations = [dict(id=1, was_cancelled=False, result=list(results))]
    return [dict(dict(id=5, data=dict(image=image), annotations=annotations, predictions=[]), **task)]


def region(kind, label='cat', **value):
    size = dict(original_width=WIDTH, original_height=HEIGHT, image_rotation=0)
    return dict(size, id='r', type=kind, from_name='label', to_name='image', value={**value, kind: [label]})


def percent(points):
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in np.reshape(points, (-1, 2)).tolist()]


def packed(values, pieces, sizes=(3, 4, 8, 16), bits=8):
    """rle-pack's bytes of values, cut into pieces (length, which of the sizes its length has)."""
    text = f'{len(values):032b}{bits - 1:05b}' + ''.join(f'{size - 1:04b}' for size in sizes)
    place = 0
    for length, which in pieces:
        part = values[place : place + length]
        same = len(set(part)) == 1
        text += f'{int(same):b}{which:02b}{length - 1:0{sizes[which]}b}'
        text += ''.join(f'{value:08b}' for value in (part[:1] if same else part))
        place += length
    text += '0' * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


ALPHA = drawn('........', '.11.....', '.1......', '........', '........', '.......1') * 255
VALUES = np.repeat(ALPHA.ravel(), 4).tolist()
BRUSH = packed(VALUES, [(36, 2), (12, 1), (5, 1), (4 * 48 - 53, 2)])
"""Pieces of one value and of several, whose lengths have 4 and 8 bits."""


def write(src, tool, content, picture=(WIDTH, HEIGHT), name='a.png'):
    """The annotation file, and the picture beside it."""
    src.mkdir(parents=True, exist_ok=True)
    if picture:
        photograph(src / name, picture)
    text = content if isinstance(content, str) else json.dumps(content)
    (src / ('annotations.xml' if tool == 'cvat' else 'annotations.json')).write_text(text)


def photograph(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


ONE = drawn('........', '.111....', '.111....', '........', '........', '........')
ROUND = drawn('........', '..1111..', '.111111.', '.111111.', '..1111..', '........')
# what it is, name of prepare, content of the file, the mask or a message
ROWS = [
    ('a polygon', 'coco', coco(polygon(SQUARE)), ONE),
    (
        'a polygon of two parts',
        'coco',
        coco(polygon(SQUARE, [6, 4, 8, 4, 8, 6, 6, 6])),
        drawn('........', '.111....', '.111....', '........', '......11', '......11'),
    ),
    (
        'run lengths as numbers',
        'coco',
        coco(dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[7, 2, 39]), iscrowd=1)),
        drawn('........', '.1......', '.1......', '........', '........', '........'),
    ),
    (
        'run lengths as text',
        'coco',
        coco(dict(segmentation=dict(size=[HEIGHT, WIDTH], counts='72W1'))),
        drawn('........', '.1......', '.1......', '........', '........', '........'),
    ),
    (
        'a smaller area before a larger one',
        'coco',
        coco(polygon([2, 1, 4, 1, 4, 2, 2, 2], category_id=11), polygon(SQUARE)),
        drawn('........', '.122....', '.111....', '........', '........', '........'),
    ),
    (
        'a category called void',
        'coco',
        coco(polygon(SQUARE, category_id=11), categories=('cat', 'void')),
        drawn('........', '.vvv....', '.vvv....', '........', '........', '........'),
    ),
    ('a box alone', 'coco', coco(dict(bbox=[1, 1, 3, 2], segmentation=[])), '1 x a box without a segmentation'),
    ('keypoints alone', 'coco', coco(dict(keypoints=[1, 1, 2])), '1 x keypoints without a segmentation'),
    ('an unknown category_id', 'coco', coco(polygon(SQUARE, category_id=3)), 'category_id is of nothing in the file'),
    ('an unknown image_id', 'coco', coco(polygon(SQUARE, image_id=3)), 'image_id is of nothing in the file'),
    ('a polygon of two points', 'coco', coco(polygon([1, 1, 4, 1])), 'a polygon is not three or more points'),
    ('a polygon outside of its picture', 'coco', coco(polygon([9, 1, 12, 1, 12, 3])), 'lies outside of its picture'),
    (
        'run lengths of another size',
        'coco',
        coco(dict(segmentation=dict(size=[WIDTH, HEIGHT], counts=[7, 2, 39]))),
        'run lengths are of another size than their image',
    ),
    (
        'run lengths that are too short',
        'coco',
        coco(dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[7, 2]))),
        'its run lengths are of 9 pixels, and 8 x 6 are 48',
    ),
    (
        'a picture of another size',
        'coco',
        coco(polygon(SQUARE), width=9),
        'annotated as 9 x 6 pixels, but it has 8 x 6',
    ),
    ('a picture that is missing', 'coco', coco(polygon(SQUARE), file_name='b.png'), '1 x a picture is missing below'),
    (
        'tracks in videos',
        'coco',
        dict(videos=[], annotations=[], categories=[]),
        'tracks in videos, which are not read',
    ),
    ('a polygon', 'cvat', cvat(shape('polygon', points='1.0,1.0;4.0,1.0;4.0,3.0;1.0,3.0', z_order=0)), ONE),
    ('a box', 'cvat', cvat(shape('box', xtl=1, ytl=1, xbr=4, ybr=3)), ONE),
    (
        'a box turned by 90 degrees',
        'cvat',
        cvat(shape('box', xtl=1, ytl=1, xbr=5, ybr=3, rotation='90.0')),
        drawn('..11....', '..11....', '..11....', '..11....', '........', '........'),
    ),
    ('an ellipse', 'cvat', cvat(shape('ellipse', cx=4, cy=3, rx=3, ry=2)), ROUND),
    (
        'an ellipse turned by 90 degrees',
        'cvat',
        cvat(shape('ellipse', cx=4, cy=3, rx=3, ry=2, rotation=90)),
        drawn('...11...', '..1111..', '..1111..', '..1111..', '..1111..', '...11...'),
    ),
    (
        'a mask',
        'cvat',
        cvat(shape('mask', rle='0, 1, 2, 3', left=2, top=1, width=3, height=2)),
        drawn('........', '..1.....', '..111...', '........', '........', '........'),
    ),
    (
        'a lower z_order after a higher one',
        'cvat',
        cvat(
            shape('box', 'dog', xtl=2, ytl=1, xbr=4, ybr=2, z_order=1),
            shape('box', xtl=1, ytl=1, xbr=4, ybr=3, z_order=0),
        ),
        drawn('........', '.122....', '.111....', '........', '........', '........'),
    ),
    (
        'the same z_order',
        'cvat',
        cvat(shape('box', 'dog', xtl=2, ytl=1, xbr=4, ybr=2), shape('box', xtl=1, ytl=1, xbr=4, ybr=3)),
        ONE,
    ),
    ('a polyline', 'cvat', cvat(shape('polyline', points='1,1;4,1')), '1 x a polyline is not filled'),
    ('points', 'cvat', cvat(shape('points', points='1,1')), '1 x a points is not filled'),
    ('a track', 'cvat', cvat().replace('</annotations>', '<track id="3"/></annotations>'), '1 x a track in a video'),
    ('an unknown label', 'cvat', cvat(shape('box', 'cow', xtl=1, ytl=1, xbr=4, ybr=3)), "the label 'cow' is not among"),
    (
        'a mask of another length',
        'cvat',
        cvat(shape('mask', rle='0, 1, 2', left=2, top=1, width=3, height=2)),
        'its run lengths are of 3 pixels, and 3 x 2 are 6',
    ),
    (
        'entities',
        'cvat',
        cvat(head='<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>'),
        'declares a document type, which CVAT does not write',
    ),
    ('a polygon', 'label-studio', studio(region('polygonlabels', points=percent(SQUARE), closed=True)), ONE),
    (
        'a rectangle',
        'label-studio',
        studio(region('rectanglelabels', x=12.5, y=100 / 6, width=37.5, height=200 / 6)),
        ONE,
    ),
    (
        'a rectangle turned by 90 degrees',
        'label-studio',
        studio(region('rectanglelabels', x=50, y=0, width=25, height=50, rotation=90)),
        drawn('.111....', '.111....', '........', '........', '........', '........'),
    ),
    (
        'an ellipse',
        'label-studio',
        studio(region('ellipselabels', x=50, y=50, radiusX=37.5, radiusY=100 / 3, rotation=0)),
        ROUND,
    ),
    ('a brush', 'label-studio', studio(region('brushlabels', format='rle', rle=BRUSH)), ALPHA // 255),
    (
        'a shape and its label as two results',
        'label-studio',
        studio(
            {**region('polygon', points=percent(SQUARE)), 'value': {'points': percent(SQUARE)}},
            region('labels', points=percent(SQUARE)),
        ),
        ONE,
    ),
    (
        'a later region over an earlier one',
        'label-studio',
        studio(
            region('polygonlabels', points=percent(SQUARE)),
            region('polygonlabels', 'dog', points=percent([2, 1, 4, 1, 4, 2, 2, 2])),
        ),
        drawn('........', '.122....', '.111....', '........', '........', '........'),
    ),
    (
        'a keypoint',
        'label-studio',
        studio(region('keypointlabels', x=1, y=1, width=1)),
        "a 'keypointlabels' is not filled",
    ),
    (
        'two annotations of a task',
        'label-studio',
        studio(annotations=[dict(result=[]), dict(result=[])]),
        'a task has 2 annotations where one is needed',
    ),
    (
        'two labels of a region',
        'label-studio',
        studio({**region('polygonlabels'), 'value': dict(points=percent(SQUARE), polygonlabels=['cat', 'dog'])}),
        'a region has 2 labels where one is needed',
    ),
    (
        'a brush of another size',
        'label-studio',
        studio(region('brushlabels', rle=packed(VALUES[4:], [(188, 2)]))),
        'its brush has 188 values of 8 bits, but its picture has 192 of 8',
    ),
    (
        'a brush cut short',
        'label-studio',
        studio(region('brushlabels', rle=BRUSH[:-4])),
        'its brush ends too early',
    ),
    (
        'a video',
        'label-studio',
        studio(region('videorectangle', sequence=[]), image='/data/upload/1/a.mp4'),
        'a task has 0 pictures where one is needed',
    ),
]
TOOLS = {'coco': 'COCO', 'cvat': 'CVAT', 'label-studio': 'Label Studio'}
