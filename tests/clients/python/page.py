"""Reads every QR code of an image, as a scanner does, and prints their texts as a JSON list.

    python page.py IMAGE

It needs the packages zxing-cpp, pillow and numpy.
"""

import json
import sys

import numpy
import zxingcpp
from PIL import Image


def main():
    image = numpy.array(Image.open(sys.argv[1]).convert("L"))
    print(json.dumps([code.text for code in zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)]))


if __name__ == "__main__":
    main()
