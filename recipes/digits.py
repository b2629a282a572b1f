"""Handwritten digits: what a net learnt on 0-4 is worth for 5-9 with ten examples of each.

    python recipes/digits.py

The images are scikit-learn's 1,797 digits; nothing is downloaded. RESULT
"""

import argparse
from pathlib import Path

from tlkit.demo import run_demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    arguments = parser.parse_args()
    run_demo(arguments.out, arguments.quick)


if __name__ == "__main__":
    main()
