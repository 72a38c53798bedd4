"""Detection and masking of secrets in urls, such as user names, passwords and tokens.

Everyone with access to the repository can read params.yaml, dvc.lock and DVC's run cache, so these must not contain a
secret. `secret_in` finds a secret in a url. Messages end up in CI logs and reports, so `masked` hides the secrets of
the urls in a message.
"""

import re
from urllib.parse import unquote, urlsplit

# The start of a url, possibly mistyped: with one slash, with backslashes, or without slashes.
_START = r"(?:^\W*[a-z][a-z0-9+.-]{0,30}:[/\\]*|[/\\]{2})"
# The user name before an @, possibly with a password, which may contain an unescaped /, ? or #.
_USER = re.compile(rf"({_START})(?:[^/\\?#]*(?:@|%40)|[^/\\?#@]*:.{{0,500}}@)", re.IGNORECASE | re.DOTALL)
# user:password@ in any text. A match must begin at the start of a word, so that a search takes linear time.
_PASSWORD = re.compile(r"(?<![^\s/:@])[^\s/:@]++:[^\s/@＠]{0,200}+[@＠]")
_ADDRESS = re.compile(_START, re.IGNORECASE)
_QUERY = re.compile(r"([?#;]).+", re.DOTALL)  # the query, fragment or path parameters, and everything after them
_NAME_OF_VALUE = re.compile(r"[?#&;]([^?#&;=]+)=[^#&;]")  # the name of each name=value pair in these parts
_SECRET_NAME = re.compile(
    ".*(token|secret|passw|signature|credential|api-?key|access-?key|auth-?key|private-?key|jwt|hmac|authorization).*"
    "|sig|o?auth|auth-?code|bearer|code|key|login|pass|pwd|pw|session|session-?id|sid|tok|user"
)


def secret_in(url: str) -> str:
    """A description of the secret in a url, without the secret itself; empty if there is no secret."""
    if _PASSWORD.search(unquote(url)) or (not _is_local(url) and _USER.search(url)):
        return "a user name or password"
    for name in _NAME_OF_VALUE.findall(unquote(url)):
        if _SECRET_NAME.fullmatch(name.strip().lower().replace("_", "-")):
            return f"a value named {name[:50]}"
    return ""


def masked(text: str) -> str:
    """Mask the user name, the password and the query of a url, or of the urls in a longer text.

    The whole query is masked, because a server may use any name for a token.
    """
    text = _USER.sub(r"\1***@", text)
    text = _PASSWORD.sub("***@", text)
    return _QUERY.sub(r"\1***", text, count=1) if _ADDRESS.search(text) else text


def _is_local(url: str) -> bool:
    """Return whether the url is a local path or file:///path, where an @ belongs to the name of a file or folder."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("", "file") and not parts.netloc
