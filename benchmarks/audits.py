"""Whether audits find what is there, and claim nothing where nothing is.

    python benchmarks/audits.py [--quick] [--json] [--part trace|bias|drift]

- `planted_bias_found`: clinic decoders with the planted bias of .8, in which the audit of protected attributes claims that
  Medicaid lowers the probability of a myocardial infarction; share of 20 seeds (2 in the quick form).
- `clean_bias_claimed`: the same decoders taught without the bias, in which the audit claims anything at all; share of 20.
- `drift_false_alarm`: share of 200 splits of unchanged notes, patients apart, in which the audit of drift raises an alarm.
- `drift_found`: share of 20 shifts in which it does: new notes of another mixture of diagnoses, or written in another way.
- `trace_recovery`, `null_false_layer`: of concept traces, see benchmarks/harness/trace_figures.py.

Every seed has fresh patients; five decoders are taught the bias, and five the same notes without it. The sizes that the
audit estimates, its other figures and the seconds are among the peers. One thread.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transformers import logging

from benchmarks.harness.audit_figures import bias_figures, drift_figures
from benchmarks.harness.report import Report, parser_of
from benchmarks.harness.rounds import Figure
from benchmarks.harness.trace_figures import figures as trace_figures
from training.engine import prepare

TARGETS = {
    "planted_bias_found": "1 (20 of 20)", "clean_bias_claimed": "0 (0 of 20)", "drift_false_alarm": ".05 ± .02",
    "drift_found": "1 (20 of 20)", "trace_recovery": "≥ .95", "null_false_layer": "≤ .05",
}  # fmt: skip
PARTS = ("trace", "bias", "drift")


def main() -> None:
    """Runs everything and reports it."""
    arguments = parser_of(__doc__, PARTS).parse_args()
    logging.disable_progress_bar()
    prepare(threads=1)
    report = Report(targets=TARGETS)
    if arguments.part in (None, "drift"):
        timed(report, "drift", lambda: drift_figures(quick=arguments.quick))
    if arguments.part in (None, "bias"):
        timed(report, "bias", lambda: bias_figures(quick=arguments.quick))
    if arguments.part in (None, "trace"):
        timed(report, "trace", lambda: trace_figures(quick=arguments.quick))
    report.deliver(arguments)


def timed(report: Report, part: str, run) -> None:
    """Runs a part: figures with a target are figures, the others peers, with the seconds it took."""
    started = time.process_time()
    for name, value in run().items():
        if name in TARGETS:
            report.figures[name] = Figure(value, value, value)
        else:
            report.peers[name] = value
    report.peers[f"{part}_cpu_s"] = time.process_time() - started
    report.say(f"{part}: done")


if __name__ == "__main__":
    main()
