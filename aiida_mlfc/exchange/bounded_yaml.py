"""YAML from a file that somebody else wrote: plain data, neither deep nor larger than it looks.

Aliases are refused: nine lines of them make a gigabyte. So are tags, which name types.
"""

from __future__ import annotations

from typing import Any

import yaml

#: libyaml's where PyYAML was built with it: ten times as fast
_LOADER: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class _Plain(yaml.SafeDumper):
    """Writes what appears twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def loads(text: str, deepest: int) -> Any:
    """The content of one document.

    :param deepest: levels of mappings and lists.
    :raises ValueError: for deeper nesting, an alias, a tag.
    :raises yaml.YAMLError: for what is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError('aliases (*name) are not read, wanted plain data')
        if getattr(event, 'tag', None) is not None or getattr(event, 'anchor', None) is not None:
            raise ValueError('tags (!name) and anchors (&name) are not read, wanted plain data')
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > deepest:
            raise ValueError(f'nested deeper than {deepest} levels')
    return yaml.load(text, Loader=_LOADER)


def dumps(content: Any) -> str:
    """The text of plain data, which :func:`loads` reads."""
    return yaml.dump(content, Dumper=_Plain, allow_unicode=True, sort_keys=False)
