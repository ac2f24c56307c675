"""``python -m resolvent.cli``."""

from __future__ import annotations

from resolvent.cli import main

if __name__ == "__main__":
    main()
