"""A YAML parser for params.yaml that accepts only what DVC and PyYAML read the same way.

DVC reads params.yaml as YAML 1.2, PyYAML as YAML 1.1. For example, `010` is 10 in YAML 1.2 and 8 in YAML 1.1. The
parser refuses such values. It also refuses anchors and merge keys: `dvc exp run -S` expands them when it rewrites the
file, so a later change of a shared section would no longer affect the sections that refer to it. Directives, tags,
duplicate keys and control characters are refused, too.
"""

import re
from typing import Any

import yaml

from fma_genre.common.errors import InputError
from fma_genre.common.schema import NAME, abbreviated, mismatch

INTEGER, FLOAT, BOOLEAN = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"
NULL, TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str"
CORE_SCHEMA = {  # YAML 1.2's core schema: the type of an unquoted scalar
    NULL: re.compile(r"null|Null|NULL|~|"),
    BOOLEAN: re.compile(r"true|True|TRUE|false|False|FALSE"),
    INTEGER: re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    FLOAT: re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
OCTAL = re.compile(r"[-+]?0[0-9]+")  # an octal number in YAML 1.1
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z")  # DVC writes 1e-05, which YAML 1.1 reads as a string
# A string in YAML 1.2 that DVC's parser reads as a number, such as _1 or +.5_.
ALMOST_A_NUMBER = re.compile(r"[-+]?(0o)?[0-9._]+([eE][-+]?[0-9]+)?|[-+]?(0b[01_]+|0x[0-9a-fA-F_]+)")
UNCOMMON_BREAK = re.compile(r"[\x85\u2028\u2029]")
MAX_KEYS = 5  # largest number of keys in a dotted name that a message shows


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with strict checks of each node; its errors name the line and the key."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.keys: list[str] = []  # path to the node that is being composed

    def compose_document(self) -> Any:
        start: Any = self.peek_event()
        if start.version or start.tags:
            raise self._error(start, "no directive (it changes how DVC reads values)", "%")
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; for a value in a mapping, `index` is the scalar node of its key."""
        if not isinstance(index, yaml.ScalarNode):
            return self._compose_strictly(parent, index)
        self.keys.append(index.value if NAME.admits(index.value) else abbreviated(index.value))
        node = self._compose_strictly(parent, index)
        self.keys.pop()
        return node

    def _compose_strictly(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if event.anchor is not None:
            raise self._error(event, "no anchor or alias (`dvc exp run -S` expands them)", event.anchor)
        if getattr(event, "tag", None) is not None:
            raise self._error(event, "a value without a tag", event.tag)
        node: Any = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        elif isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        return node

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        if not node.value.isprintable():
            raise self._error(node, "a string without line breaks or control characters", node.value)
        if node.style is None and node.value == "<<":
            raise self._error(node, "no merge key (`dvc exp run -S` expands it)", "<<")
        if node.style is None and _is_ambiguous(node.value, node.tag):
            raise self._error(node, "a value that YAML 1.1 and 1.2 read the same way, or a value in quotes", node.value)

    def _check_keys(self, mapping: yaml.MappingNode) -> None:
        seen = set()
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise self._error(key, "unique keys", f"{key.value} twice")
            seen.add(key.value)

    def _error(self, event_or_node: Any, expected: str, found: str) -> InputError:
        line, key = _line(event_or_node.start_mark), ".".join(self.keys[:MAX_KEYS])
        return mismatch(f"{line}: {key}" if key else line, expected, found)


_Loader.add_implicit_resolver(FLOAT, EXPONENT, list("-+.0123456789"))


def parse(text: str) -> Any:
    """Parse a YAML document; raise InputError with the line and the key of the first problem."""
    _check_line_breaks(text)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(explain(error, text)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as YAML: {_in_one_line(error)}") from error


def explain(error: yaml.YAMLError, text: str) -> str:
    """Describe in one line why a text is not YAML.

    The message does not quote the text, as PyYAML's own message does: the text may contain a secret.
    """
    if isinstance(error, yaml.reader.ReaderError):
        line = line_number(text, error.position)
        return f"line {line}: cannot be read as YAML: the character U+{error.character:04X} is not allowed"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        problem = _in_one_line(error.problem).removeprefix("but ")
        return f"{_line(error.problem_mark)}: cannot be read as YAML: {problem}"
    return f"cannot be read as YAML: {_in_one_line(error)}"


def _check_line_breaks(text: str) -> None:
    """Raise InputError for a character that ends a line, and thus a comment, in YAML 1.1 but not in YAML 1.2."""
    if found := UNCOMMON_BREAK.search(text):
        line = line_number(text, found.start())
        raise mismatch(f"line {line}", "line breaks that YAML 1.1 and 1.2 read the same way", found[0])


def line_number(text: str, position: int) -> int:
    """Number of the line that has the character at `position`; the first line is 1."""
    return len(text[:position].split("\n"))


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}"


def _in_one_line(error: object) -> str:
    return " ".join(str(error).split())[:500]


def _is_ambiguous(scalar: str, tag: str) -> bool:
    """Return whether an unquoted scalar of type `tag` in YAML 1.1 has another type or value in YAML 1.2 or in DVC."""
    core_tag = next((core_tag for core_tag, pattern in CORE_SCHEMA.items() if pattern.fullmatch(scalar)), TEXT)
    if core_tag == INTEGER and OCTAL.fullmatch(scalar):
        return True
    if core_tag == TEXT and ALMOST_A_NUMBER.fullmatch(scalar):
        return True
    return tag != core_tag
