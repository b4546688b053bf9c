"""A loss that draws a tile to the genes that it has more of than other tiles of its slide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 0.1
_ALIGNED = 256  # tiles of a slide that are looked at


def alignment(z: Tensor, v: Tensor, expression: Tensor) -> Tensor:
    """Symmetric InfoNCE between tiles and what they express.

    u_i = sum_g s_ig v_g, s the expression of each gene standardised over the tiles. Tile i should
    be more like u_i than like the u_j of other tiles, and u_i more like its own tile.

    Parameters
    ----------
    z
        (n_tiles, width) tiles of one slide.
    v
        (g, width) genes.
    expression
        (n_tiles, g) measured.

    Returns
    -------
    Tensor
        Scalar; log n where nothing is aligned.
    """
    if len(z) > _ALIGNED:  # evenly spread over the slide, so that nothing is drawn
        at = torch.linspace(0, len(z) - 1, _ALIGNED, device=z.device).round().long()
        z, expression = z[at], expression[at]
    s = expression - expression.mean(0)
    s = s / s.square().mean(0).sqrt().clamp(min=1e-6)
    u = F.normalize(s @ v, dim=1)
    alike = F.normalize(z, dim=1) @ u.t() / _TEMPERATURE
    own = alike.diagonal()
    return (0.5 * (alike.logsumexp(0) + alike.logsumexp(1)) - own).mean()
