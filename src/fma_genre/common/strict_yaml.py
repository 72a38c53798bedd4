"""YAML that every reader understands alike.

DVC reads params.yaml as YAML 1.2, PyYAML as YAML 1.1: `010` is 10 to one and 8 to the other. DVC also writes a merge
key or an anchor out wherever `-S` changes a value, after which a change of one section no longer reaches the others.
Both are refused, and so are a key that stands twice in a group, a tag, and control characters in a text.
"""

import re
from typing import Any

import yaml

from fma_genre.common.errors import InputError
from fma_genre.common.schema import abbreviated

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


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, made strict where it composes nodes and constructs values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if event.anchor is not None:
            raise _error(event.start_mark, "values written out (`dvc exp run -S` expands anchors)", event.anchor)
        if getattr(event, "tag", None) is not None:
            raise _error(event.start_mark, "a value without a tag", event.tag)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        return super().construct_object(node, deep)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value == "<<" and key.style is None:
                raise _error(key.start_mark, "values written out (`dvc exp run -S` expands merge keys)", "<<")
            if key.value in seen:
                raise _error(key.start_mark, "every key once in a group", f"{key.value} twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(FLOAT, EXPONENT, list("-+.0123456789"))


def parse(text: str) -> Any:
    """The value of a YAML document; raises InputError naming the line that is wrong."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"expected YAML, found: {' '.join(str(error).split())[:500]}") from error


def _check_scalar(node: yaml.ScalarNode) -> None:
    if not node.value.isprintable():
        raise _error(node.start_mark, "a text without line breaks and control characters", node.value)
    if node.style is None and _is_ambiguous(node.value, node.tag):
        raise _error(node.start_mark, "a value that YAML 1.1 and 1.2 read alike, or quotes", node.value)


def _is_ambiguous(text: str, tag: str) -> bool:
    """Whether an unquoted text, of this type in YAML 1.1, is something else in YAML 1.2 or to DVC's reader."""
    core = next((type_ for type_, pattern in CORE_SCHEMA.items() if pattern.fullmatch(text)), TEXT)
    if core == INTEGER and OCTAL.fullmatch(text):
        return True
    if core == TEXT and ALMOST_A_NUMBER.fullmatch(text):
        return True
    return tag != core


def _error(mark: Any, expected: str, found: str) -> InputError:
    return InputError(f"line {mark.line + 1}: expected {expected}, found {abbreviated(found)}")
