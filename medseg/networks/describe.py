"""What `medseg list networks` and docs/networks.md say of every network, from the registry.

``python -m medseg.networks.describe docs/networks.md`` brings the page up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from medseg.errors import ConfigError
from medseg.networks import NETWORKS, hf, smp, tv
from medseg.networks.monai_forms import FORMS

BEGIN, END = "<!-- table of networks: begin -->", "<!-- table of networks: end -->"

LIBRARIES = (
    ("monai:", "MONAI", "zoo"),
    ("hf:", "transformers", "hf"),
    ("smp:", "segmentation_models.pytorch", "smp"),
    ("tv:", "torchvision", "tv"),
)
"""Prefix of the names, the library, and what of medseg brings it."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """One row of the list of networks.

    Attributes
    ----------
    name : str
        As in ``network.name``.
    dims : tuple of int
        Of 2 and 3, those it can be built for.
    parameters : int or None
        Of the default form in 2-D (in 3-D where there is no other) with one channel and two
        classes, auxiliary heads included; None where counting would need another library.
    paper : str
    """

    name: str
    dims: tuple[int, ...]
    parameters: int | None
    paper: str

    @property
    def dims_text(self) -> str:
        """Such as ``2D, 3D``."""
        return ", ".join(f"{n}D" for n in self.dims)

    @property
    def size_text(self) -> str:
        """Parameters in millions, such as ``7.76 M``."""
        return "-" if self.parameters is None else f"{self.parameters / 1e6:.2f} M"


def describe_all() -> tuple[Description, ...]:
    """Describe every network of `NETWORKS` by name; built on the meta device, without weights."""
    return tuple(_describe(name) for name in sorted(NETWORKS))


def describe_wrapped() -> tuple[Description, ...]:
    """Describe the networks of other libraries; none of these is imported."""
    monai = {f"monai:{name}": form.paper for name, form in FORMS.items()}
    flat = {
        **{f"hf:{name}": form.paper for name, form in hf.FORMS.items()},
        **{f"smp:{name}": paper for name, paper in smp.PAPERS.items()},
        **{f"tv:{name}": paper for name, paper in tv.PAPERS.items()},
    }
    return tuple(
        Description(name=name, dims=dims, parameters=None, paper=paper)
        for dims, papers in (((2, 3), monai), ((2,), flat))
        for name, paper in papers.items()
    )


def paper_of(part: Callable[..., Any]) -> str:
    """Return entry [1] of the references in the docstring of a network.

    Raises
    ------
    ValueError
        If there is none: every network names its paper.
    """
    inner = part.func if isinstance(part, partial) else part
    found = re.search(
        r"^\.\. \[1\] (.+?)(?=^\s*$|^\.\. \[|\Z)", inspect.getdoc(inner) or "", _FLAGS
    )
    if found is None:
        raise ValueError(f"the docstring of {inner} has no reference '.. [1] ...'; add its paper")
    return " ".join(found[1].split()).removesuffix(".")


def table() -> str:
    """Return the markdown tables of docs/networks.md."""
    lines = ["| name | dims | parameters | paper |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.dims_text} | {row.size_text} | {row.paper} |"
        for row in describe_all()
    ]
    rows = describe_wrapped()
    for prefix, library, extra in LIBRARIES:
        lines += ["", f"| of {library} (`pip install 'medseg[{extra}]'`) | dims | paper |"]
        lines += ["|---|---|---|"]
        lines += [
            f"| `{row.name}` | {row.dims_text} | {row.paper} |"
            for row in rows
            if row.name.startswith(prefix)
        ]
    return "\n".join(lines)


def refreshed(page: str) -> str:
    """Return the page with the table between its marks made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines '{BEGIN}' and '{END}' around its table")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Bring the page named on the command line up to date."""
    page = Path(arguments[0])
    page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


_FLAGS = re.MULTILINE | re.DOTALL


@cache
def _describe(name: str) -> Description:
    """Build a network in 2-D and 3-D without weights and look at it."""
    counts: dict[int, int] = {}
    refused: list[ConfigError] = []
    for ndim in (2, 3):
        try:
            with torch.device("meta"):
                network = NETWORKS[name](ndim=ndim, in_channels=1, num_classes=2)
        except ConfigError as error:
            refused.append(error)
        else:
            counts[ndim] = sum(p.numel() for p in network.parameters())
    if not counts:
        raise refused[0]
    return Description(
        name=name,
        dims=tuple(counts),
        parameters=counts[min(counts)],
        paper=paper_of(NETWORKS[name]),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
