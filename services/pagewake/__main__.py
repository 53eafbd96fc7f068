"""`python -m pagewake` is `pagewake`."""

from __future__ import annotations

from pagewake.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
