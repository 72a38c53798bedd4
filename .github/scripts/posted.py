"""Reports as they are posted on GitHub: without mentions of people, and short enough.

The code of a branch wrote the report, so it may be hostile. comment.py and experiment.py import this module. It needs
no packages.
"""

import re

MAX_LENGTH = 60_000  # characters of the report; a comment or the description of a pull request may have 65,536
# The @ in a name such as train@cnn, which mentions nobody; any other @; or the & of a character reference to it. Before
# the name is a space or a backtick. Anything else might end in a character that is not shown.
MENTION = re.compile(r"(?P<name>(?<![^\s`])[a-z][a-z0-9]*@)|@|&(?=#0*64|#x0*40|commat)", re.IGNORECASE | re.ASCII)
ZERO_WIDTH_SPACE = "\u200b"


def postable(report: str) -> tuple[str, str]:
    """Return the report without mentions, cut to MAX_LENGTH, and a sentence that says so if it is cut."""
    text = without_mentions(report)
    note = f"Only the first {MAX_LENGTH:,} characters are shown." if len(text) > MAX_LENGTH else ""
    return text[:MAX_LENGTH], note


def without_mentions(text: str) -> str:
    """Change each @, and each character reference to it, so that GitHub notifies nobody.

    Names of stages stay as they are, so that a reader can copy them.
    """
    return MENTION.sub(_without_mention, text)


def _without_mention(found: re.Match[str]) -> str:
    return found["name"] or {"@": f"@{ZERO_WIDTH_SPACE}", "&": "&amp;"}[found[0]]
