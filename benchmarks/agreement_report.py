"""What the agreement report costs: 10,000 items, 20 raters, 2,000 resamples, every field of a codebook.

    python -m benchmarks.agreement_report [--quick] [--json]

Prints seconds of wall and processor time, by part. The panel is simulated and takes no part in the time.
"""

import argparse
import json
import os
import time
from typing import Any

from labeling.report.config import ReportConfig
from labeling.report.findings import findings
from labeling.report.page import json_text, page
from labeling.report.study import Study
from tests.labeling.report.panel import table

GOAL_S = 10.0


def measure(n_items: int, n_raters: int, n_bootstraps: int) -> dict[str, Any]:
    """Time of one report."""
    judgements = table(n_items, n_raters)
    wall, processor = time.perf_counter(), processor_s()
    found = findings(judgements, ReportConfig(n_bootstraps=n_bootstraps), Study(), "ClinLens benchmark")
    figures = time.perf_counter() - wall
    html = page(found)
    return {
        "n_items": n_items,
        "n_raters": n_raters,
        "n_judgements": len(judgements.rows),
        "n_bootstraps": n_bootstraps,
        "figures_s": round(figures, 2),
        "total_s": round(time.perf_counter() - wall, 2),
        "processor_s": round(processor_s() - processor, 2),
        "html_bytes": len(html),
        "json_bytes": len(json_text(found)),
        "goal_s": GOAL_S,
    }


def processor_s() -> float:
    """Processor time of this process and of those it has ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 items and 6 raters, to see that it runs.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    asked = parser.parse_args()
    found = measure(300, 6, 200) if asked.quick else measure(10_000, 20, 2000)
    print(json.dumps(found) if asked.json else "\n".join(f"{name:14} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
