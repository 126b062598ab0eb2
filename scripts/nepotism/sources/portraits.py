"""Drawn portraits: 64 x 64 RGB faces whose every factor has a name.

Three factors make the 30 groups (2 expressions x 5 hair colours x 3 face shapes, in the place of the paper's 2 genders x
5 races x 3 ages); skin tone, eye colour, hair length, background, clothing and pose are free. A face is a list of
polygons in unit coordinates, posed by one similarity transform and drawn at four times the size, so that a rotated or
scaled face costs nothing extra. All randomness comes from the generator that the caller keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nepotism.data.images import digest
from nepotism.runtime import streams
from nepotism.sources.base import RealImage, RealImages, Split

RGB = tuple[float, float, float]
Points = NDArray[np.float64]

EXPRESSION = ("smiling", "frowning")
HAIR: dict[str, RGB] = {
    "black": (28, 24, 26),
    "brown": (104, 62, 32),
    "blond": (236, 204, 96),
    "red": (196, 70, 24),
    "grey": (176, 178, 182),
}
FACE = ("round", "long", "square")
SKIN: dict[str, RGB] = {"pale": (250, 220, 198), "tan": (214, 160, 116), "brown": (150, 98, 66), "dark": (84, 54, 40)}
EYES: dict[str, RGB] = {"brown": (92, 50, 18), "blue": (44, 112, 224), "green": (42, 160, 66)}
LENGTH = ("short", "long")
COLOUR: dict[str, RGB] = {
    "red": (214, 48, 48),
    "orange": (244, 148, 40),
    "yellow": (240, 222, 72),
    "green": (64, 170, 76),
    "cyan": (76, 206, 214),
    "blue": (52, 84, 206),
    "purple": (140, 66, 190),
    "white": (238, 238, 236),
}
FACTORS: dict[str, tuple[str, ...]] = {
    "expression": EXPRESSION,
    "hair": tuple(HAIR),
    "face": FACE,
    "skin": tuple(SKIN),
    "eyes": tuple(EYES),
    "length": LENGTH,
    "background": tuple(COLOUR),
    "shirt": tuple(COLOUR),
}
GROUP_FACTORS = ("expression", "hair", "face")
DEFAULT_CAPTION = "a portrait of a {expression} person with {hair} hair and a {face} face"
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Portrait:
    """The named factors of one portrait; each field is a key of `FACTORS`, each value one of its names."""

    expression: str
    hair: str
    face: str
    skin: str
    eyes: str
    length: str
    background: str
    shirt: str

    @property
    def group(self) -> str:
        """The demographic group, such as ``smiling-red-round``."""
        return "-".join(getattr(self, factor) for factor in GROUP_FACTORS)

    def caption(self, template: str = DEFAULT_CAPTION) -> str:
        """The caption, with the factors' names filled into ``template``."""
        return template.format(**asdict(self))


@dataclass(frozen=True)
class Variation:
    """How far pose and colours stray: standard deviations in units of the picture, of degrees, and of 0-255."""

    shift: float = 0.02
    scale: float = 0.04
    rotation: float = 4.0
    colour: float = 10.0


REFERENCE_VARIATION = Variation()


def groups() -> Iterator[dict[str, str]]:
    """The group factors of all 30 groups, in the order of `FACTORS`."""
    for values in product(*(FACTORS[factor] for factor in GROUP_FACTORS)):
        yield dict(zip(GROUP_FACTORS, values, strict=True))


def real_images(
    images_per_group: int, scoring_split: str, resolution: int, caption: str, fresh_sets: Sequence[str] = ()
) -> RealImages:
    """The reference split (``images_per_group`` of each group), the scoring split (twice as many), and the named sets of
    the reference's size that are reserved for single uses: all distinct."""
    seen: set[str] = set()
    return RealImages(
        reference=_draw_split("reference", images_per_group, resolution, caption, seen),
        scoring=_draw_split(scoring_split, 2 * images_per_group, resolution, caption, seen),
        fresh={name: _draw_split(f"fresh-{name}", images_per_group, resolution, caption, seen) for name in fresh_sets},
    )


def _draw_split(split: str, per_group: int, resolution: int, caption: str, seen: set[str]) -> Split:
    drawn: Split = {}
    for factors in groups():
        group = "-".join(factors.values())
        drawn[group] = []
        index = 0
        while len(drawn[group]) < per_group:
            rng = streams.generator("portraits", split, group, index)
            pixels = draw_portrait(choose(rng, **factors), rng, resolution)
            if (content := digest(pixels)) not in seen:
                seen.add(content)
                drawn[group].append(RealImage(pixels, caption.format(**factors), f"portraits/{split}/{group}/{index}"))
            index += 1
    return drawn


def choose(rng: np.random.Generator, **fixed: str) -> Portrait:
    """Draw every factor that ``fixed`` does not name, uniformly; a shirt never has the background's colour."""
    chosen = {factor: fixed.get(factor, str(rng.choice(values))) for factor, values in FACTORS.items()}
    if "shirt" not in fixed:
        others = [colour for colour in COLOUR if colour != chosen["background"]]
        chosen["shirt"] = str(rng.choice(others))
    return Portrait(**chosen)


def draw_portrait(
    portrait: Portrait, rng: np.random.Generator, size: int = 64, variation: Variation = REFERENCE_VARIATION
) -> NDArray[np.uint8]:
    """Draw a portrait.

    Args:
        portrait: its named factors.
        rng: source of pose, proportions and shades.
        size: height and width of the result in pixels.
        variation: how far pose and colours stray.

    Returns:
        uint8 array of shape (size, size, 3), RGB.
    """
    pencil = _Pencil(rng, size * SUPERSAMPLING, variation)
    skin, hair = pencil.shade(SKIN[portrait.skin]), pencil.shade(HAIR[portrait.hair])
    shirt, background = pencil.shade(COLOUR[portrait.shirt]), pencil.shade(COLOUR[portrait.background])
    pencil.gradient(background)
    outline = _face_outline(portrait.face, rng)
    width, height = float(np.abs(outline[:, 0]).max()), float(np.abs(outline[:, 1]).max())

    if portrait.length == "long":
        pencil.fill(_ellipse(0, 0.02, width + 0.075, height + 0.09), hair)
        pencil.fill(_box(-width - 0.075, 0.0, width + 0.075, height + 0.13), hair)
    pencil.fill(_ellipse(0, height + 0.33, 0.36, 0.24), shirt)
    pencil.fill(_box(-0.085, height - 0.1, 0.085, height + 0.1), _dim(skin, 0.82))
    pencil.fill(_ellipse(0, height + 0.1, 0.085, 0.045), _dim(skin, 0.82))
    for side in (-1, 1):
        pencil.fill(_ellipse(side * width, 0.02, 0.035, 0.055), _dim(skin, 0.9))
    if portrait.length == "short":
        pencil.fill(_ellipse(0, -0.07, width + 0.035, height - 0.01), hair, above=0.0)
    pencil.fill(outline, skin)
    _hair_front(pencil, hair, width, height, rng)
    _features(pencil, portrait, skin, hair, width, height, rng)
    return pencil.finish(size)


def _face_outline(face: str, rng: np.random.Generator) -> Points:
    """A superellipse around the origin: half-axes and exponent make a face round, long or square."""
    width, height, exponent = {"round": (0.245, 0.245, 2.0), "long": (0.17, 0.29, 2.1), "square": (0.225, 0.25, 5.0)}[
        face
    ]
    width, height = width * rng.normal(1, 0.02), height * rng.normal(1, 0.02)
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack(
        [
            width * np.sign(cosine) * np.abs(cosine) ** (2 / exponent),
            height * np.sign(sine) * np.abs(sine) ** (2 / exponent),
        ],
        1,
    )


def _hair_front(pencil: "_Pencil", hair: RGB, width: float, height: float, rng: np.random.Generator) -> None:
    """The hair above the forehead: a cap with a hairline that parts left or right."""
    part = rng.uniform(-0.6, 0.6) * width
    hairline = -height * rng.uniform(0.5, 0.58)
    cap = _ellipse(0, -height * 0.45, width + 0.04, height * 0.72)
    crown = cap[cap[:, 1] < -height * 0.35]
    order = np.argsort(np.arctan2(crown[:, 1] + height * 0.45, crown[:, 0]))
    fringe = np.array(
        [
            [width + 0.02, -height * 0.3],
            [width * 0.75, hairline],
            [part, hairline - 0.05],
            [-width * 0.75, hairline],
            [-width - 0.02, -height * 0.3],
        ]
    )
    pencil.fill(np.concatenate([crown[order], fringe]), hair)
    shine = _ellipse(part * 0.6, -height * 0.92, width * 0.45, 0.018)
    pencil.fill(shine, _dim(hair, 1.18, 14))


def _features(
    pencil: "_Pencil", portrait: Portrait, skin: RGB, hair: RGB, width: float, height: float, rng: np.random.Generator
) -> None:
    """Eyes, brows, nose and mouth, moved together as a turned head moves them."""
    turn, lift = rng.normal(0, 0.014), rng.normal(0, 0.008)
    smiling = portrait.expression == "smiling"
    spread = max(0.085, width * 0.46) * rng.normal(1, 0.03)
    eye_y = -0.045 + lift
    iris = pencil.shade(EYES[portrait.eyes], 0.5)
    for side in (-1, 1):
        x = side * spread + turn
        pencil.fill(_ellipse(x, eye_y, 0.066, 0.05 if smiling else 0.045), (250, 250, 248))
        pencil.fill(_ellipse(x + turn * 0.4, eye_y, 0.042, 0.042), iris)
        pencil.fill(_ellipse(x + turn * 0.4, eye_y, 0.018, 0.018), (12, 10, 12))
        pencil.fill(_ellipse(x + 0.014, eye_y - 0.016, 0.011, 0.011), (255, 255, 255))
        # A frown pulls the inner ends of the brows down, a smile lifts the whole arc.
        inner, outer, middle = (-0.08, -0.075, -0.1) if smiling else (-0.052, -0.102, -0.085)
        brow = np.array([[x - side * 0.06, eye_y + inner], [x, eye_y + middle], [x + side * 0.065, eye_y + outer]])
        pencil.stroke(_arc(brow), 0.024, _dim(hair, 0.72))
    pencil.stroke(
        _arc(np.array([[turn * 1.5, 0.0], [turn * 1.5 + 0.03, 0.06], [turn * 1.5 - 0.012, 0.065]])),
        0.018,
        _dim(skin, 0.72),
    )
    mouth_y, half = height * 0.58 + lift, 0.085 * rng.normal(1, 0.06)
    lips = _blend(skin, (176, 24, 44), 0.75)
    if smiling:
        curve = _arc(np.array([[turn - half, mouth_y - 0.03], [turn, mouth_y + 0.085], [turn + half, mouth_y - 0.03]]))
        pencil.fill(curve, (252, 250, 246))
        pencil.stroke(np.concatenate([curve, curve[:1]]), 0.022, lips)
    else:
        curve = _arc(np.array([[turn - half, mouth_y + 0.045], [turn, mouth_y - 0.05], [turn + half, mouth_y + 0.045]]))
        pencil.stroke(curve, 0.03, lips)


class _Pencil:
    """Draws polygons of unit coordinates (origin at the face's centre, y down) through one random pose."""

    def __init__(self, rng: np.random.Generator, pixels: int, variation: Variation) -> None:
        self._rng, self._pixels, self._variation = rng, pixels, variation
        angle = np.deg2rad(rng.normal(0, variation.rotation))
        scale = rng.normal(1, variation.scale)
        self._turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self._centre = np.array([0.5, 0.48]) + rng.normal(0, variation.shift, 2)
        self._image = Image.new("RGB", (pixels, pixels))
        self._draw = ImageDraw.Draw(self._image)

    def shade(self, colour: RGB, strength: float = 1.0) -> RGB:
        """``colour`` with its brightness and each channel moved a little at random."""
        moves = self._rng.normal(0, self._variation.colour * strength, 4)
        return _rgb(np.asarray(colour) + moves[0] + 0.5 * moves[1:])

    def gradient(self, colour: RGB) -> None:
        """Fill the picture with ``colour``, lighter towards a random side."""
        direction, slope = self._rng.uniform(0, 2 * np.pi), self._rng.uniform(0.1, 0.3)
        axis = np.linspace(-0.5, 0.5, self._pixels // SUPERSAMPLING)
        field = 1 + slope * (np.cos(direction) * axis[None, :] + np.sin(direction) * axis[:, None])
        pixels = np.clip(field[..., None] * np.asarray(colour), 0, 255).astype(np.uint8)
        self._image.paste(Image.fromarray(pixels).resize(self._image.size, Image.Resampling.NEAREST))

    def fill(self, points: Points, colour: RGB, above: float | None = None) -> None:
        """Fill a polygon; with ``above``, only its part higher than that height."""
        if above is not None:
            points = np.stack([points[:, 0], np.minimum(points[:, 1], above)], 1)
        self._draw.polygon(self._place(points), fill=_bytes(colour))

    def stroke(self, points: Points, width: float, colour: RGB) -> None:
        """Draw a line of ``width`` through the points, with round joints."""
        thickness = max(1, round(width * self._pixels))
        self._draw.line(self._place(points), fill=_bytes(colour), width=thickness, joint="curve")

    def finish(self, size: int) -> NDArray[np.uint8]:
        """The picture at its final size, each pixel the mean of its supersamples."""
        return np.asarray(self._image.resize((size, size), Image.Resampling.BOX))

    def _place(self, points: Points) -> list[tuple[float, float]]:
        placed = (points @ self._turn.T + self._centre) * self._pixels
        return [(float(x), float(y)) for x, y in placed]


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], 1)


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _arc(ends: Points) -> Points:
    """A quadratic Bezier curve: start, control point, end."""
    t = np.linspace(0, 1, 12)[:, None]
    return (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]


def _rgb(values: NDArray[np.float64]) -> RGB:
    red, green, blue = np.clip(values, 0, 255)
    return float(red), float(green), float(blue)


def _bytes(colour: RGB) -> tuple[int, int, int]:
    return round(colour[0]), round(colour[1]), round(colour[2])


def _dim(colour: RGB, factor: float, offset: float = 0.0) -> RGB:
    return _rgb(np.asarray(colour) * factor + offset)


def _blend(one: RGB, other: RGB, share: float) -> RGB:
    return _rgb((1 - share) * np.asarray(one) + share * np.asarray(other))
