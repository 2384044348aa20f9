import sys

from segwright.cli import main

if __name__ == "__main__":
    sys.exit(main())
