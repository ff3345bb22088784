"""Run the command line as `python -m finetooth`."""

import sys

from finetooth.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
