"""The policy of a report, which carries its own script and style."""

import html
import re

from labeling.web.gate import POLICY

OWN_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def own_policy(report: str) -> str:
    """The policy in a report's head, which names the hashes of its script and style; ours for a page without one."""
    found = OWN_POLICY.search(report[:4096])
    return f"{html.unescape(found[1])}; frame-ancestors 'none'" if found else POLICY
