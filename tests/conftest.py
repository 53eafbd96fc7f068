"""Settings of all tests: on CI, property tests draw the same examples every time.

A change then fails for what it did; new examples are looked for where people work.  Hypothesis also
draws constants that stand in the modules loaded so far, so one test alone sees other examples than
the same test after all others.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("steady")
