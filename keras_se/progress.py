"""A progress bar on standard error for work that takes longer than a second or two."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Count `items` on standard error as they are taken; nothing is shown where that is no terminal."""
    from rich.console import Console  # which a machine that only runs files need not have
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return iter(
        rich_track(items, description, total=total, console=console, transient=True, disable=not console.is_terminal)
    )
