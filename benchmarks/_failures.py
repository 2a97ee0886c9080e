"""Pictures of shapes that failed a check: the neutral beside the pose, and the question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from raf_sdk import Rig
from raf_sdk._preview import View, render
from raf_sdk.check._head import Head

__all__ = ["plot_failures"]

SIZE = (240, 264)
COLUMNS = 4
# The face in canonical units, seen from straight ahead.
CENTRE, EXTENT = (0.0, -0.2, -0.5), 4.8


def plot_failures(path: Path, failures: Sequence[tuple[str, Rig, tuple[str, ...]]]) -> None:
    """Draw a sheet, two pictures for each failure.

    Parameters
    ----------
    path
        The PNG to write.
    failures
        Title, rig, and the shapes to show; more than one, unless they are twins, are shown together.
    """
    width, height = 2 * SIZE[0], SIZE[1] + 18
    rows = -(-max(len(failures), 1) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, rig, shapes) in enumerate(failures):
        x, y = index % COLUMNS * width, index // COLUMNS * height
        twins = len(shapes) == 2 and shapes[0].endswith("Left") and shapes[1].endswith("Right")
        poses = [{shape: 1.0} for shape in shapes] if twins else [{}, dict.fromkeys(shapes, 1.0)]
        head = Head(rig)
        for place, weights in enumerate(poses):
            points = head.frame.to_canonical(rig.evaluate(weights))
            view = View(np.eye(3), np.array(CENTRE), EXTENT)
            seams = np.unique(rig.vertices, axis=0, return_inverse=True)[1].reshape(-1)
            picture = render(points, rig.faces, view, SIZE, seams)
            sheet.paste(Image.fromarray(picture), (x + place * SIZE[0], y))
        draw.text((x + 3, y + SIZE[1] + 3), f"{title} ({' + '.join(shapes)})", fill="black")
    sheet.save(path)
