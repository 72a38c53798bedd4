"""Secrets in urls: a user, a password, a token.

params.yaml, and with it dvc.lock and the cache of runs, is shared by all who have the repository: `secret_in` finds
what may not stand there. Messages end in logs of CI and in reports: they show every url `masked`.
"""

import re
from urllib.parse import unquote, urlsplit

# An address as it should begin, and as people mistype it: a slash less, a backslash, no slashes at all.
_START = r"(?:^\W*[a-z][a-z0-9+.-]{0,30}:[/\\]*|[/\\]{2})"
# The user in front of @, also with a password that holds /, ? or # although these should be percent-encoded.
_USER = re.compile(rf"({_START})(?:[^/\\?#]*(?:@|%40)|[^/\\?#@]*:.{{0,500}}@)", re.IGNORECASE | re.DOTALL)
# user:password@ in any text; it begins at the beginning of a word, so that a long text takes no long time.
_PASSWORD = re.compile(r"(?<![^\s/:@])[^\s/:@]++:[^\s/@＠]{0,200}+[@＠]")
_ADDRESS = re.compile(_START, re.IGNORECASE)
_QUERY = re.compile(r"([?#;]).+", re.DOTALL)  # and what follows it: a fragment, or parameters of the path
_VALUE = re.compile(r"[?#&;]([^?#&;=]+)=[^#&;]")  # the name of a value in a query, a fragment or a path's parameters
_SECRET_NAME = re.compile(
    ".*(token|secret|passw|signature|credential|api-?key|access-?key|auth-?key|private-?key|jwt|hmac|authorization).*"
    "|sig|o?auth|auth-?code|bearer|code|key|login|pass|pwd|pw|session|session-?id|sid|tok|user"
)


def secret_in(url: str) -> str:
    """Words for the secret that a url holds, without showing it; empty if there is none."""
    if _PASSWORD.search(unquote(url)) or (not _is_local(url) and _USER.search(url)):
        return "a user or password"
    for name in _VALUE.findall(unquote(url)):
        if _SECRET_NAME.fullmatch(name.strip().lower().replace("_", "-")):
            return f"a value of {name[:50]}"
    return ""


def masked(text: str) -> str:
    """A url, or a text that begins with or holds one, without user, password and the values of a query.

    What to mask is decided generously, since nobody knows where a server's own tokens stand: the whole query goes.
    """
    text = _PASSWORD.sub("***@", _USER.sub(r"\1***@", text))
    return _QUERY.sub(r"\1***", text, count=1) if _ADDRESS.search(text) else text


def _is_local(url: str) -> bool:
    """Whether it is a path or file:///path, whose @ stands in the name of a folder."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("", "file") and not parts.netloc
