"""What docs/configuration.md says, as far as the chart has to agree with it."""
import re

from chart import ROOT


def variables():
    """The default of each variable of Warren."""
    text = (ROOT / "docs/configuration.md").read_text()
    found = dict(re.findall(r"^\| `(WARREN_\w+)` \| (.*?) \|", text, re.MULTILINE))
    assert len(found) > 20
    return found


# Those that the chart sets itself.
OWNED = ["WARREN_LISTEN", "WARREN_ADMIN_LISTEN", "WARREN_REPLICA", "WARREN_WORKERS", "WARREN_AMQP_URL",
         "WARREN_DRAIN_DELAY", "WARREN_DRAIN_PERIOD"]
