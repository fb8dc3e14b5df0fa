"""The colour map of PASCAL VOC."""


def voc_palette(size: int = 256) -> list[tuple[int, int, int]]:
    """The PASCAL VOC colour map (VOCdevkit, VOClabelcolormap): the bits of an index, spread over the three channels."""
    colours = []
    for index in range(size):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append((rgb[0], rgb[1], rgb[2]))
    return colours
