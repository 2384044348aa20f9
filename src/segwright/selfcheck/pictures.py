"""Pictures with words and masks to be examined by: eight photographs with polygons drawn by hand, and drawn scenes.

The photographs come with scikit-image (nothing is fetched); only the polygons are ours (CC0). A mask is of the main thing,
whatever else is there. Of those that its wheel brings these eight show a thing that can be named; the others are textures, text,
microscopy, the sky, or a silhouette. Sources and licences are those of scikit-image's own docstrings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from segwright.images import read
from segwright.types import Image

Points = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Example:
    """A picture to be examined by.

    Attributes:
        file: in scikit-image's data, or of the drawn scenes.
        word: the main thing's, by which it is looked for.
        names: what a caption may call it.
        others: words that compete, not in the picture or small in it.
        source: who made it, and under which licence.
        polygons: outlines of the main thing, (x, y) in pixels.
        circles: (x, y, radius) in pixels, in place of polygons.
    """

    file: str
    word: str
    names: tuple[str, ...]
    others: tuple[str, ...]
    source: str
    polygons: tuple[Points, ...] = ()
    circles: tuple[tuple[int, int, int], ...] = ()

    def read(self) -> tuple[Image, NDArray[np.bool_]]:
        """The picture, (H, W, 3) uint8, and the main thing's mask, (H, W)."""
        image = read(Path(str(resources.files("skimage.data"))) / self.file)
        mask = Pillow.new("1", (image.shape[1], image.shape[0]))
        draw = ImageDraw.Draw(mask)
        for points in self.polygons:
            draw.polygon(points, fill=1)
        for x, y, radius in self.circles:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        return image, np.asarray(mask, dtype=bool)


PUBLIC, ZERO = "public domain", "CC0"
EXAMPLES = (
    Example(
        "astronaut.png", "person", ("person", "woman", "man", "astronaut", "lady"), ("cat", "motorbike"), f"NASA, {PUBLIC}",
        ((
            (153, 70), (165, 45), (190, 33), (205, 20), (235, 15), (265, 22), (290, 45), (301, 80), (298, 105),
            (285, 125), (272, 137), (265, 150), (258, 172), (280, 195), (300, 225), (304, 238), (325, 247),
            (345, 270), (355, 300), (362, 335), (364, 347), (345, 353), (325, 366), (305, 388), (290, 415),
            (280, 445), (277, 480), (278, 511), (25, 511), (22, 480), (25, 445), (18, 400), (22, 370), (40, 300),
            (52, 270), (65, 245), (95, 225), (115, 205), (118, 190), (130, 168), (150, 152), (178, 148), (184, 147),
            (180, 130), (168, 118), (157, 100),
        ),),
    ),
    Example(
        "chelsea.png", "cat", ("cat", "kitten", "animal"), ("car", "dog"), f"Stefan van der Walt, {ZERO}",
        ((
            (38, 0), (398, 0), (385, 20), (365, 50), (352, 75), (358, 95), (364, 125), (360, 150), (350, 175),
            (332, 200), (318, 220), (312, 240), (312, 260), (300, 275), (285, 285), (275, 299), (0, 299), (0, 128),
            (22, 118), (34, 100), (31, 60),
        ),),
    ),
    Example(
        "coffee.png", "cup", ("cup", "mug", "coffee", "espresso", "drink"), ("cat", "airplane"), f"Rachel Michetti, {ZERO}",
        ((
            (173, 105), (178, 80), (192, 55), (215, 36), (245, 22), (285, 18), (325, 23), (360, 37), (385, 57),
            (400, 80), (406, 105), (408, 125), (402, 150), (395, 180), (385, 205), (375, 222), (350, 240),
            (320, 245), (316, 255), (328, 262), (315, 275), (285, 285), (262, 283), (255, 280), (245, 290),
            (228, 306), (208, 304), (196, 294), (197, 268), (212, 240), (218, 230), (202, 215), (185, 185),
            (176, 150),
        ),),
    ),
    Example(
        "rocket.jpg", "rocket", ("rocket", "launch", "space", "missile", "tower"), ("cat", "bottle"), f"SpaceX, {PUBLIC}",
        ((
            (311, 146), (314, 135), (322, 127), (329, 134), (333, 146), (333, 175), (331, 190), (332, 250),
            (331, 300), (331, 406), (311, 406), (311, 300), (311, 190), (311, 175),
        ),),
    ),
    Example(
        "motorcycle_left.png", "motorcycle", ("motorcycle", "motorbike", "bike", "vehicle"), ("sofa", "boat"),
        "Middlebury 2014 stereo benchmark, as scikit-image distributes it (no licence is named there)",
        ((
            (93, 200), (93, 218), (110, 222), (103, 240), (112, 248), (138, 240), (125, 265), (120, 300), (125, 335),
            (140, 370), (165, 392), (200, 402), (240, 395), (265, 375), (280, 355), (320, 370), (330, 380),
            (332, 420), (325, 433), (340, 433), (345, 410), (340, 378), (400, 380), (430, 375), (455, 355),
            (470, 320), (478, 285), (480, 245), (495, 215), (505, 240), (515, 270), (522, 285), (505, 315),
            (505, 330), (518, 345), (530, 370), (555, 405), (585, 435), (620, 450), (650, 445), (672, 425),
            (682, 395), (680, 360), (665, 325), (640, 305), (643, 300), (625, 280), (590, 265), (578, 258),
            (565, 230), (545, 200), (548, 190), (560, 165), (563, 140), (575, 140), (582, 128), (575, 118),
            (562, 122), (545, 122), (530, 105), (543, 100), (515, 85), (495, 78), (497, 95), (490, 115), (470, 120),
            (468, 140), (450, 145), (430, 128), (412, 120), (395, 130), (380, 135), (372, 120), (350, 115),
            (333, 125), (335, 138), (355, 138), (380, 140), (357, 165), (365, 172), (390, 155), (400, 150),
            (385, 170), (360, 185), (350, 190), (300, 185), (275, 185), (255, 172), (235, 170), (180, 162),
            (160, 160), (160, 150), (150, 148), (140, 160), (150, 190), (165, 208), (130, 215), (120, 198),
        ),),
    ),
    Example(
        "camera.png", "person", ("person", "man", "photographer", "guy"), ("cat", "car"), f"Lav Varshney, {ZERO}",
        ((
            (0, 250), (18, 232), (30, 215), (50, 190), (60, 160), (80, 138), (105, 127), (130, 123), (148, 107),
            (160, 107), (163, 92), (175, 75), (192, 66), (205, 63), (228, 70), (248, 83), (262, 98), (271, 115),
            (268, 128), (256, 134), (252, 145), (254, 168), (247, 172), (245, 186), (240, 197), (243, 212),
            (248, 245), (262, 232), (262, 215), (278, 205), (290, 208), (300, 205), (308, 190), (318, 170),
            (328, 170), (332, 190), (325, 205), (315, 225), (300, 232), (303, 270), (280, 290), (250, 311),
            (240, 311), (207, 295), (190, 315), (165, 345), (140, 380), (147, 405), (150, 450), (150, 511),
            (137, 511), (125, 480), (100, 447), (92, 511), (0, 511),
        ),),
    ),
    Example(
        "coins.png", "coin", ("coin", "coins", "money"), ("dog", "tree"), "Brooklyn Museum, no known copyright restrictions",
        circles=(
            (44, 53, 22), (100, 56, 19), (155, 51, 23), (216, 51, 23), (276, 52, 20), (335, 44, 29), (45, 124, 21),
            (103, 126, 19), (154, 127, 19), (206, 125, 20), (270, 120, 25), (336, 125, 19), (44, 198, 19),
            (102, 196, 22), (154, 198, 19), (212, 193, 23), (274, 194, 23), (347, 187, 32), (46, 260, 28),
            (114, 265, 21), (172, 261, 28), (244, 264, 24), (301, 263, 25), (357, 268, 23),
        ),
    ),
    # Blurred by the camera's motion: what a captioner calls it is anybody's guess, where it is no method should miss.
    Example(
        "clock_motion.png", "clock", ("clock", "light", "lamp", "plate", "bowl", "mirror", "ball"), ("dog", "tree"),
        f"Stefan van der Walt, {PUBLIC}",
        ((
            (140, 150), (143, 133), (151, 117), (164, 104), (181, 96), (202, 92), (225, 92), (246, 96), (263, 106), (275, 120),
            (282, 137), (284, 155), (280, 172), (272, 187), (260, 199), (244, 209), (225, 214), (203, 215), (182, 212), (165, 204),
            (152, 191), (144, 173),
        ),),
    ),
)  # fmt: skip


def drawn(count: int = 8) -> list[tuple[str, Image, NDArray[np.bool_], str, tuple[str, ...]]]:
    """The first shipped scenes whose main thing covers a twentieth: name, picture, mask, word, two other words."""
    from segwright.files.masks import read_label_map
    from segwright.mini.scenes import THINGS
    from segwright.mini.voc import data_folder

    found = []
    for path in sorted((data_folder() / "SegmentationClass").glob("val_*.png")):
        labels = read_label_map(path)
        areas = np.bincount(labels[labels < 255].ravel(), minlength=len(THINGS) + 1)
        main = int(areas[1:].argmax()) + 1
        if areas[main] * 20 < labels.size:
            continue
        absent = [word for i, word in enumerate(THINGS, 1) if not areas[i]]
        image = read(data_folder() / "JPEGImages" / f"{path.stem}.jpg")
        found.append((f"{path.stem}.jpg", image, labels == main, THINGS[main - 1], tuple(absent[:2])))
        if len(found) == count:
            break
    return found


def photographs() -> Sequence[tuple[str, Image, NDArray[np.bool_], str, tuple[str, ...], tuple[str, ...]]]:
    """The eight examples: name, picture, mask, word, other words, names that a caption may use."""
    return [(e.file, *e.read(), e.word, e.others, e.names) for e in EXAMPLES]
