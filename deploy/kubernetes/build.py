"""The rules of deploy/prometheus as objects of the Prometheus operator: `make rules` writes them.

The text is that of the files, comments and all, a step further in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import indent

DEPLOY = Path(__file__).parents[1]
DIRECTORY = DEPLOY / "kubernetes/components/monitoring/rules"
HEAD = """\
# Made of deploy/prometheus/rules/{name}.yml: make rules
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pagewake-{name}
  labels:
    app.kubernetes.io/name: pagewake
    app.kubernetes.io/part-of: pagewake
spec:
"""


def built() -> dict[str, str]:
    """The text of every file, by its name."""
    rules = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
    return {
        f"{path.stem}.yaml": HEAD.format(name=path.stem)
        + indent(path.read_text(encoding="utf-8"), "  ")
        for path in rules
    }


def main(directory: Path = DIRECTORY) -> None:
    """Write all."""
    directory.mkdir(exist_ok=True)
    for name, text in built().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*[Path(argument) for argument in sys.argv[1:2]])
