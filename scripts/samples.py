"""The sample images of the demo, drawn here: pen strokes that are digits, strokes that are not, and textures."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE, ZOOM = 28, 16
Stroke = list[tuple[float, float]]


def strokes(*lines: Stroke, width: float = 2.6) -> Image.Image:
    """Pen strokes, white on black; points are in pixels of the final 28 x 28 image."""
    canvas = Image.new("L", (SIZE * ZOOM, SIZE * ZOOM))
    draw = ImageDraw.Draw(canvas)
    for line in lines:
        points = [(x * ZOOM, y * ZOOM) for x, y in line]
        draw.line(points, fill=255, width=round(width * ZOOM), joint="curve")
        for x, y in (points[0], points[-1]):  # round ends, like a pen's
            reach = width * ZOOM / 2
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
    return canvas.resize((SIZE, SIZE), Image.Resampling.BOX)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Stroke:
    """Part of an ellipse around (x, y); angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 40))
    return [(float(x + rx * np.cos(a)), float(y + ry * np.sin(a))) for a in angles]


def texture(seed: int, roughness: float) -> Image.Image:
    """Clouds: noise whose spectrum falls with frequency, as that of photographs does."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    spectrum = np.fft.fft2(random.normal(size=(SIZE, SIZE))) / np.maximum(frequency, 1 / SIZE) ** roughness
    field = np.fft.ifft2(spectrum).real
    field = (field - field.min()) / (field.max() - field.min())
    return Image.fromarray(np.rint(255 * field).astype(np.uint8))


def samples() -> dict[str, Image.Image]:
    """By file name."""
    random = np.random.default_rng(7)
    stripes = np.indices((SIZE, SIZE)).sum(axis=0) // 4 % 2 * 255
    return {
        "zero.png": strokes(arc(14, 14, 5.5, 8.5, -90, 275)),
        "one.png": strokes([(15.5, 5), (13, 23)]),
        "three.png": strokes(arc(13, 9.5, 5, 4.5, -150, 90), arc(13, 18.5, 5.5, 4.6, -90, 150)),
        "seven.png": strokes([(7.5, 7), (19.5, 7), (12.5, 23)]),
        "cross.png": strokes([(6, 6), (22, 22)], [(22, 6), (6, 22)]),
        "house.png": strokes([(6, 13), (14, 5), (22, 13), (22, 23), (6, 23), (6, 13), (22, 13)], width=1.8),
        "stripes.png": Image.fromarray(stripes.astype(np.uint8)),
        "clouds.png": texture(seed=3, roughness=1.5),
        "noise.png": Image.fromarray(random.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)),
        "confetti.bmp": Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)),
    }


def write(folder: Path) -> list[Path]:
    """Write the samples; returns their paths in the order in which they are shown."""
    drawn = samples()
    for name, image in drawn.items():
        image.save(folder / name)
    return [folder / name for name in drawn]
