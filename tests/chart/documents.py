"""What docs/configuration.md says, as far as the chart has to agree with it."""
import re

from chart import ROOT


def variables():
    """The default of each variable of Warren."""
    text = (ROOT / "docs/configuration.md").read_text()
    found = dict(re.findall(r"^\| `(WARREN_\w+)` \| (.*?) \|", text, re.MULTILINE))
    assert len(found) > 20
    return found
