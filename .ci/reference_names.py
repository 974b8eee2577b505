"""An extension of griffe for the API reference: `from module import name as name` exports the name.

In: the import statements that griffe reads. Out: the imported names, marked as public, so that mkdocstrings shows them.
"""

import ast
from typing import Any

import griffe


class RedundantAliases(griffe.Extension):
    """Read imports as type checkers do."""

    def on_alias_instance(self, *, node: ast.AST | griffe.ObjectNode, alias: griffe.Alias, **kwargs: Any) -> None:
        """Publish a name that is imported under its own name."""
        if isinstance(node, ast.ImportFrom) and any(alias.name == name.asname == name.name for name in node.names):
            alias.public = True
