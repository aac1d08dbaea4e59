"""The command `blitz`, which belongs to the specification.

In a clone the specification lies beside this package. A wheel brings it inside, so that it takes no name from
other packages; from there it is found under the name that it has in a clone.
"""

import sys
from pathlib import Path

SPECIFICATION = Path(__file__).parent / "specification"


def main() -> int:
    """Run the command line."""
    if SPECIFICATION.is_dir():
        sys.path.insert(0, str(SPECIFICATION))
    from spec.command_line import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
