"""YAML that every reader understands alike.

DVC reads params.yaml as YAML 1.2, PyYAML as YAML 1.1: `010` is 10 to one and 8 to the other. DVC also writes a merge
key or an anchor out wherever `-S` changes a value, after which a change of one section no longer reaches the others.
Both are refused, and so are a directive, a key that stands twice in a group, a tag, and control characters in a text.
"""

import re
from typing import Any

import yaml

from fma_genre.common.errors import InputError
from fma_genre.common.schema import NAME, abbreviated, wrong

INTEGER, FLOAT, BOOLEAN = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"
NULL, TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str"
CORE_SCHEMA = {  # of YAML 1.2
    NULL: re.compile(r"null|Null|NULL|~|"),
    BOOLEAN: re.compile(r"true|True|TRUE|false|False|FALSE"),
    INTEGER: re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    FLOAT: re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
OCTAL = re.compile(r"[-+]?0[0-9]+")  # in YAML 1.1
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z")  # `-S` writes 1e-05, a text in YAML 1.1
# A number to DVC's reader, such as _1 or +.5_, and a text in YAML 1.2.
ALMOST_A_NUMBER = re.compile(r"[-+]?(0o)?[0-9._]+([eE][-+]?[0-9]+)?|[-+]?0[bx][0-9a-fA-F_]+")
UNCOMMON_BREAK = re.compile(r"[\x85\u2028\u2029]")
DEEPEST = 5  # keys of a path in a message


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, made strict where it composes nodes, and naming the key of whatever it refuses."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.keys: list[str] = []  # above the node that is being composed

    def compose_document(self) -> Any:
        start: Any = self.peek_event()
        if start.version or start.tags:
            raise self._error(start, "no directive (DVC would read values as that version's)", "%")
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A value of a group, whose key is the scalar node `index`; or a key, an item of a list, the document."""
        if not isinstance(index, yaml.ScalarNode):
            return self._compose_strictly(parent, index)
        self.keys.append(index.value if NAME.admits(index.value) else abbreviated(index.value))
        node = self._compose_strictly(parent, index)
        self.keys.pop()
        return node

    def _compose_strictly(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if event.anchor is not None:
            raise self._error(event, "values written out (`dvc exp run -S` expands anchors)", event.anchor)
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
            raise self._error(node, "a text without line breaks and control characters", node.value)
        if node.style is None and node.value == "<<":
            raise self._error(node, "values written out (`dvc exp run -S` expands merge keys)", "<<")
        if node.style is None and _is_ambiguous(node.value, node.tag):
            raise self._error(node, "a value that YAML 1.1 and 1.2 read alike, or quotes", node.value)

    def _check_keys(self, group: yaml.MappingNode) -> None:
        seen = set()
        for key in [key for key, _ in group.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise self._error(key, "every key once in a group", f"{key.value} twice")
            seen.add(key.value)

    def _error(self, place: Any, expected: str, found: str) -> InputError:
        places = [_line(place.start_mark), ".".join(self.keys[:DEEPEST])]
        return wrong(": ".join(filter(None, places)), expected, found)


_Loader.add_implicit_resolver(FLOAT, EXPONENT, list("-+.0123456789"))


def parse(text: str) -> Any:
    """The value of a YAML document; raises InputError naming the line that is wrong, and its key."""
    _check_line_breaks(text)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:  # without the snippet that it carries, which may hold anything
        line = f"{_line(error.problem_mark)}: " if error.problem_mark else ""
        raise InputError(f"{line}expected YAML, found: {_in_one_line(error.problem)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"expected YAML, found: {_in_one_line(error)}") from error


def _check_line_breaks(text: str) -> None:
    """Raise InputError for a character that ends a line, and with it a comment, in YAML 1.1 only."""
    if found := UNCOMMON_BREAK.search(text):
        number = len(text[: found.start()].split("\n"))
        raise wrong(f"line {number}", "line breaks that YAML 1.1 and 1.2 read alike", found[0])


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}"


def _in_one_line(error: object) -> str:
    return " ".join(str(error).split())[:500]


def _is_ambiguous(text: str, tag: str) -> bool:
    """Whether an unquoted text, of this type in YAML 1.1, is something else in YAML 1.2 or to DVC's reader."""
    core = next((type_ for type_, pattern in CORE_SCHEMA.items() if pattern.fullmatch(text)), TEXT)
    if core == INTEGER and OCTAL.fullmatch(text):
        return True
    if core == TEXT and ALMOST_A_NUMBER.fullmatch(text):
        return True
    return tag != core
