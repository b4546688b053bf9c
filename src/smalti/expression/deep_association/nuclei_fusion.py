"""A tile's looks and where its nuclei lie, in one vector.

Design:

- Nuclei come as numbers on a grid over the tile (see :mod:`smalti.features.nuclei`), not as pixels.
  The paper does not say by which tool it finds them, so that no tool is built in here: a user's own
  nuclei will do as well.
- A tile asks its cells, cells do not ask one another: one query per head, so that the cost grows
  with the number of cells and not with its square.
- The branch is shut when a fit starts, and what a tile looks like is never lost in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.errors import InputError


class NucleiFusion(nn.Module):
    """Cross-attention of a tile to a grid of what is known of its nuclei.

    After the nuclei-distribution-aware extractor of DAM (Zhou et al. 2025, MICCAI), which fuses the
    two by cross-attention; its equations are not public, so the form is ours. A tile is parted into
    grid x grid cells; cell p with numbers x_p is the token C x_p + e_p, e_p learned. The tile,
    normalised, asks the tokens and one learned null token, in ``heads`` heads, and hears r:
    z' = z + tanh(g) * O r.

    g is a learned vector that starts at 0 (Alayrac et al. 2022, Flamingo): a fit starts from the
    tile's looks alone. Cells without nuclei are not looked at; the null token always is, so a tile
    without nuclei has an answer too, and a tile need not listen to its nuclei.

    The tokens are never made. Keys and values are linear in x_p, so the query is brought to the
    space of x (``channels`` numbers) and values are summed there: n x cells x channels numbers
    instead of n x cells x width.

    Parameters
    ----------
    width
        Of z; a multiple of ``heads``.
    grid
        Cells along one side of the tile.
    channels
        Numbers of a cell: counts, sizes, stain, standardised by the caller.
    heads
        Of the attention.

    Raises
    ------
    InputError
        If ``width`` is no multiple of ``heads``, or another number is below 1.
    """

    def __init__(self, width: int, grid: int, channels: int, heads: int = 4) -> None:
        super().__init__()
        if width % heads or grid < 1 or channels < 1:
            raise InputError(
                f"nuclei fusion: width={width}, heads={heads}, grid={grid}, channels={channels}: "
                "width must be a multiple of heads, the others at least 1."
            )
        self.heads = heads
        self.cell = nn.Linear(channels, width)  # C
        self.position = nn.Parameter(torch.randn(grid * grid, width) * 0.02)
        self.null = nn.Parameter(torch.randn(width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        # a bias of the key would add the same number to all scores of a head, which softmax ignores
        self.key = nn.Linear(width, width, bias=False)
        self.value, self.mix = nn.Linear(width, width), nn.Linear(width, width)  # mix is O
        # at 0 the gate alone has a gradient, of which the first step opens it for all the others
        self.gate = nn.Parameter(torch.zeros(width))  # g

    def forward(
        self, z: Tensor, nuclei: Tensor, there: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fuse.

        Parameters
        ----------
        z
            (n, width) tiles.
        nuclei
            (n, grid * grid * channels): the channels of the first cell, of the second, ...
        there
            (n, grid * grid) bool, which cells have nuclei; all when left out. To be told before
            numbers are standardised: after that a cell without nuclei is no longer 0.

        Returns
        -------
        tuple
            (n, width), and (n, grid * grid + 1) the weight of each cell and, last, of the null
            token, mean over heads; each row sums to 1.
        """
        x = nuclei.unflatten(1, (len(self.position), -1))  # (n, cells, channels)
        ask = self.query(self.norm(z)).unflatten(1, (self.heads, -1))  # (n, heads, part)
        # the query in the space of tokens: q (K t) = (q K) t
        key = self.key.weight.unflatten(0, (self.heads, -1)) / ask.shape[2] ** 0.5
        ask = torch.einsum("nhp,hpw->nhw", ask, key)  # (n, heads, width)
        # a token is f_p + C x_p, with f_p the same in all tiles: its score is q f_p + (q C) x_p, so
        # that the query goes on to the few channels, and C x_p is never made
        fixed = self._fixed()  # (cells + 1, width)
        score = ask @ fixed.T  # (n, heads, cells + 1)
        of_cells = (ask @ self.cell.weight) @ x.transpose(1, 2)  # (n, heads, cells)
        if there is not None:
            of_cells = of_cells.masked_fill(~there[:, None], -torch.inf)
        # the null token has no x, so 0 is added; it is never masked, so no row is -inf throughout
        weight = (score + nn.functional.pad(of_cells, (0, 1))).softmax(2)  # (n, heads, cells + 1)
        # the mean token of each head, then its values: sum a (V t) = V (sum a t), bias included
        token = weight @ fixed + (weight[..., :-1] @ x) @ self.cell.weight.T  # (n, heads, width)
        value = self.value.weight.unflatten(0, (self.heads, -1))  # (heads, part, width)
        # r, (n, width): each head has its own columns of V
        heard = torch.einsum("nhw,hpw->nhp", token, value).flatten(1) + self.value.bias
        return z + torch.tanh(self.gate) * self.mix(heard), weight.mean(1)

    def _fixed(self) -> Tensor:
        """(cells + 1, width): the part of each token that no tile changes; the null token last."""
        return torch.cat([self.position + self.cell.bias, self.null[None]])
