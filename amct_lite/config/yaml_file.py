"""YAML configuration files, read and written. The only importer of PyYAML (extra `amct-lite[yaml]`): import it when needed."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from amct_lite.config.document import Document
from amct_lite.config.mapping import Path, key_text
from amct_lite.errors import ConfigError

_MAX_DEPTH = 20
_MAX_VALUES = 100_000  # aliases can make a short file stand for billions of values


def parse(text: str, source: str) -> Document:
    """The document in `text`. Raises ConfigError where it is not YAML."""
    document = Document(None)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None:
            document.data = _Reader(loader, source, document).value(root, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{source}:{line}: not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply.") from error
    return document


def dump(tables: dict[str, object]) -> str:
    """`tables` as YAML text, in their order."""
    text: str = yaml.safe_dump(tables, sort_keys=False, allow_unicode=True)
    return text


@dataclass
class _Reader:
    """Builds plain values from YAML nodes, which still know their lines; fills `document`'s lines and problems."""

    loader: yaml.SafeLoader
    source: str
    document: Document
    count: int = 0

    def value(self, node: yaml.Node, path: Path) -> object:
        self.count += 1
        if len(path) > _MAX_DEPTH or self.count > _MAX_VALUES:
            raise ConfigError(f"{self._place(node)}: nested too deeply, or too many values.")
        if isinstance(node, yaml.MappingNode):
            return self._table(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, str(index))) for index, item in enumerate(node.value)]
        try:
            return self.loader.construct_object(node)
        except ValueError as error:
            self.document.problems.append(f"{self._place(node)}: {key_text(path)}: {error}.")
            return None

    def _item(self, node: yaml.Node, path: Path) -> object:
        self.document.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _table(self, node: yaml.MappingNode, path: Path) -> dict[object, object]:
        table: dict[object, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.problems.append(f"{self._place(key_node)}: a key must be text.")
                continue
            key = self.value(key_node, path)
            inner = (*path, str(key))
            if key in table:
                self.document.problems.append(f"{self._place(key_node)}: {key_text(inner)} is given twice. Keep one.")
                continue
            self.document.lines[inner] = key_node.start_mark.line + 1
            table[key] = self.value(value_node, inner)
        return table

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source}:{node.start_mark.line + 1}"
