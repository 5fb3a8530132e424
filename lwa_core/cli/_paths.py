"""Paths on the command line: any that a file system could hold; commands say themselves what is wrong with the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class FilePath(click.Path):
    """A path as `pathlib.Path`; one that nothing can have is refused as used wrongly, before anything looks for it."""

    def __init__(self, *, allow_dash: bool = False) -> None:
        super().__init__(path_type=Path, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from lwa_core.settings.paths import resolved_path
        from lwa_core.settings.types import shown

        path = super().convert(value, param, ctx)
        try:
            resolved_path(str(path).replace("~", "-"), Path())  # `~` is the shell's own affair
        except ValueError as error:
            self.fail(f"{shown(str(path))} {error}", param, ctx)
        return path
