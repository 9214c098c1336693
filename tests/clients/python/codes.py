"""Reads QR codes as a scanner does, whole and damaged, and compares what it reads with what should be in them.

    python codes.py [--blots N] [--missed M] [--seed SEED] PNG...

Each PNG has a file of the same name with .txt, which is the text. A code is read as it is, drawn again with 3 and with 8 pixels for each
module, and damaged N times (1 by default). It prints a summary as JSON. The exit code is 1 if a code was not read, or read as another
text, or is not a QR code of version 8 and level Q. Of the N damaged drawings of a code in one size, M (0 by default) may be unread.

"15 % of its modules are damaged" means here: one square blot of 19 × 19 of the 49 × 49 modules (15.04 %), at a random place that does
not touch the three finder patterns, filled with black, white, or noise. A single module that flips makes its whole codeword of 8
modules wrong: if 15 % of all modules flip independently, 1 - 0.85^8 = 73 % of the codewords are wrong, and no level of QR codes
restores more than 30 %. Without its finder patterns a code is not found at all, whatever its level. A blot is also what happens to
tickets: a stain, a tear, a fold, a reflection. Level Q repairs 11 of the 40 or 41 codewords of each of its blocks, and such a blot makes
10 of them wrong on the average. So a few do not suffice: of 60,000 blots, 3 with noise were not read.

It needs the packages zxing-cpp, pillow and numpy.
"""

import argparse
import json
import pathlib
import random
import sys

import numpy
import zxingcpp
from PIL import Image

SIDE, QUIET, BLOT, FINDER = 49, 4, 19, 8
FILLS = ("black", "white", "noise")


def main():
    parser = argparse.ArgumentParser(description="Reads QR codes of tickets, whole and damaged.")
    parser.add_argument("--blots", type=int, default=1, help="how often each code is damaged")
    parser.add_argument("--missed", type=int, default=0, help="how many of them may be unread")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("png", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    summary, failures = {}, []

    def check(what, path, image, text, whole):
        count = summary.setdefault(what, {"read": 0, "failed": 0})
        found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)
        flaw = wrong(found, text, whole)
        count["failed" if flaw else "read"] += 1
        if flaw and (whole or found):
            failures.append(f"{path.name}, {what}: {flaw}")
        return bool(found)

    for path in arguments.png:
        text = path.with_suffix(".txt").read_text(encoding="utf-8")
        image = numpy.array(Image.open(path).convert("L"))
        modules = modules_of(image)
        check("as it is", path, image, text, True)
        for pixels in (3, 8):
            check(f"{pixels} pixels", path, drawn(modules, pixels), text, True)
        chance = random.Random(f"{arguments.seed} {path.name}")
        missed = dict.fromkeys((3, 8), 0)
        for _ in range(arguments.blots):
            fill = chance.choice(FILLS)
            damaged = blotted(modules, chance, fill)
            for pixels in missed:
                missed[pixels] += not check(f"{pixels} pixels, 15 % {fill}", path, drawn(damaged, pixels), text, False)
        failures += [f"{path.name}, {pixels} pixels: {n} of {arguments.blots} blots hide it" for pixels, n in missed.items() if n > arguments.missed]
    print(json.dumps({"codes": len(arguments.png), **dict(sorted(summary.items())), "failures": failures[:20]}, indent=2))
    return 1 if failures else 0


def wrong(found, text, whole):
    """What is wrong with what was read, or None. Only of a whole code are its version and level looked at."""
    if len(found) != 1:
        return f"{len(found)} codes were found"
    if found[0].text != text:
        return f"read as {found[0].text!r}"
    form = (found[0].extra.get("Version"), found[0].ec_level)
    return f"version and level are {form}" if whole and form != ("8", "Q") else None


def modules_of(image):
    """The modules of an undamaged image, without the quiet zone: True is dark."""
    pixels = image.shape[0] // (SIDE + 2 * QUIET)
    inside = slice(QUIET * pixels + pixels // 2, (QUIET + SIDE) * pixels, pixels)
    return image[inside, inside] < 128


def drawn(modules, pixels):
    """A grey image of the modules with their quiet zone."""
    light = numpy.pad(~modules, QUIET, constant_values=True)
    return numpy.kron(light, numpy.full((pixels, pixels), 255, dtype=numpy.uint8)).astype(numpy.uint8)


def blotted(modules, chance, fill):
    """The modules with a blot on 15 % of them."""
    while True:
        x, y = chance.randrange(SIDE - BLOT + 1), chance.randrange(SIDE - BLOT + 1)
        left, right, top, bottom = x < FINDER, x + BLOT > SIDE - FINDER, y < FINDER, y + BLOT > SIDE - FINDER
        if not (left and top or right and top or left and bottom):
            break
    damaged = modules.copy()
    noise = [[chance.random() < 0.5 for _ in range(BLOT)] for _ in range(BLOT)]
    damaged[y : y + BLOT, x : x + BLOT] = {"black": True, "white": False, "noise": noise}[fill]
    return damaged


if __name__ == "__main__":
    sys.exit(main())
