"""Content of docs/configuration.md that the chart must agree with."""
import re

from chart import ROOT


def _rows():
    text = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `(WARREN_\w+)` \| (.*?) \| .* \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 20
    return rows


def variables():
    """The default of each variable of Warren."""
    return {name: default for name, default, _ in _rows()}


def accepted():
    """The description of the accepted values of each variable."""
    return {name: words for name, _, words in _rows()}


# Variables that the chart sets.
OWNED = ["WARREN_LISTEN", "WARREN_ADMIN_LISTEN", "WARREN_REPLICA", "WARREN_WORKERS", "WARREN_AMQP_URL",
         "WARREN_DRAIN_DELAY", "WARREN_DRAIN_PERIOD"]
