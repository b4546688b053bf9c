"""A gene's meaning in this tissue: gene vectors refined by what a slide looks like.

The pathology-guided genomic prompter of DAM (Zhou et al. 2025, MICCAI). No code and no equation of
it is public, only that what is written of genes is refined in rounds by what the image shows. The
form is ours. Design:

- A slide speaks through a few context tokens, not through all its tiles, so the cost is slides x
  genes x tokens instead of tiles x genes. A gene is thus made anew for each slide; a tile has its
  say where it meets the gene, in z . v, and by its neighbourhood in :class:`LocalPrompt`.
- Tokens are pooled over all tiles of a slide, so a slide must come whole: in pieces, each piece
  would make other genes.
- Each round pools tokens of its own from the same tiles. Only the genes change from round to round.
- Parts of a slide and of a gene that meet are normalised; the gene itself goes on as it is, with
  something added.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti import segment
from smalti.errors import InputError
from smalti.nn.window_graph import Neighbours
from smalti.segment import Segments


class PromptRound(nn.Module):
    """One look of the genes at the slides.

    Context: t_sq = sum_i a_iq V z_i, with a_iq = softmax over the tiles i of slide s of
    q_q K z_i / sqrt(width), of ``n_context`` learned queries q, z normalised. Genes: v' = v +
    sigmoid(G [v, r] + c) * r, where r is attention of the gene (the query) over the tokens of the
    slide, both normalised.

    c starts at -2, a gate open by 0.12: a fit starts near the gene vectors as the text has them, on
    which genes never seen in training rest, and lets in the slide only where that helps. Closed
    altogether (c = -10) the branch would have no gradient to open by.

    Parameters
    ----------
    width
        Of tiles and genes; a multiple of ``heads``.
    n_context
        Context tokens of a slide.
    heads
        Of the attention of genes.

    Raises
    ------
    InputError
        If ``width`` is no multiple of ``heads``, or ``n_context`` is below 1.
    """

    def __init__(self, width: int, n_context: int = 8, heads: int = 4) -> None:
        super().__init__()
        if width % heads or n_context < 1:
            raise InputError(
                f"prompter: width={width}, heads={heads}, n_context={n_context}: width must be a "
                "multiple of heads, n_context at least 1."
            )
        self.heads = heads
        self.ask = nn.Parameter(torch.randn(n_context, width))  # q
        self.tile_norm = nn.LayerNorm(width)
        # a bias of K would be the same for all tiles: softmax cannot tell
        self.tile_key = nn.Linear(width, width, bias=False)
        self.tile_value = nn.Linear(width, width)  # V
        self.gene_norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.gate = nn.Linear(2 * width, width)  # G and c: a gate of each column, not of a gene
        nn.init.constant_(self.gate.bias, -2.0)

    def context(self, z: Tensor, segments: Segments) -> Tensor:
        """Tiles (n, width) to the tokens of their slides, (n_slides, n_context, width).

        A slide without tiles has the tokens 0.
        """
        z = self.tile_norm(z)  # (n, width)
        # K and V meet a few tokens, not all tiles: q (K z) = (q K) z, sum a (V z) = V (sum a z);
        # with the bias of V too, as the a of a slide sum to 1
        ask = self.ask @ self.tile_key.weight / z.shape[1] ** 0.5  # (n_context, width)
        weight = segment.softmax(z @ ask.T, segments)  # (n, n_context)
        # few slides, each with many tiles: a product per slide is faster than a sum per token
        cut = segments.lengths.tolist()
        pooled = [segment.product(w, t)
                  for w, t in zip(weight.split(cut), z.split(cut), strict=True)]  # fmt: skip
        tokens = self.tile_value(torch.stack(pooled))  # (n_slides, n_context, width)
        # nothing pooled leaves the bias of V, which would speak for a slide that has nothing to say
        return tokens * (segments.lengths > 0)[:, None, None]

    def forward(self, v: Tensor, context: Tensor) -> Tensor:
        """Genes, (g, width) or already (n_slides, g, width), to (n_slides, g, width).

        ``context`` is (n_slides, n_context, width).
        """
        seen = self.context_norm(context)
        # 2 x (n_slides, heads, n_context, part), part = width / heads
        key, value = self.key_value(seen).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        asks = self.query(self.gene_norm(v)).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
        # genes that no slide has changed yet ask all slides the same: a view, not a copy
        asks = asks.expand(len(context), *asks.shape[-3:])  # (n_slides, heads, g, part)
        heard = F.scaled_dot_product_attention(asks, key, value)
        heard = self.mix(heard.transpose(1, 2).flatten(2))  # r, (n_slides, g, width)
        v = v.expand_as(heard)
        # the gate sees both sides: whether a slide is worth hearing depends on the gene that asks
        return v + torch.sigmoid(self.gate(torch.cat([v, heard], dim=2))) * heard


class Prompter(nn.Module):
    """Rounds of :class:`PromptRound`, each with queries of its own.

    Parameters
    ----------
    width, n_context, heads
        As in :class:`PromptRound`.
    rounds
        How many.
    enabled
        False cuts the branch: every slide gets the genes as they are.
    """

    def __init__(
        self, width: int, n_context: int = 8, rounds: int = 3, *, heads: int = 4,
        enabled: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.rounds = nn.ModuleList(PromptRound(width, n_context, heads) for _ in range(rounds))
        self.enabled = enabled

    def forward(
        self, v: Tensor, z: Tensor, segments: Segments,
        then: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """Genes (g, width) and tiles (n, width) to each slide's genes, (n_slides, g, width).

        ``then`` follows each round, or comes once where there is none; it keeps the shape.
        """
        out = v.expand(len(segments.lengths), *v.shape)  # (n_slides, g, width), a view
        looks = list(self.rounds) if self.enabled else []
        for i, look in enumerate(looks):
            assert isinstance(look, PromptRound)  # a ModuleList forgets what it holds
            # the first round sees v itself: its queries are made once for all slides
            out = look(v if i == 0 else out, look.context(z, segments))
            out = out if then is None else then(out)
        return out if looks or then is None else then(out)


class LocalPrompt(nn.Module):
    """Genes as the neighbourhood of a tile makes them: v_i = (1 + tanh(S c_i)) * v.

    c_i is the mean of the normalised z of the tile and of those around it. S starts at 0: a fit
    starts from the genes of the slide. The genes of a tile are never made: z . (m * v) = (z * m) .
    v, so that the cost is tiles + genes and not tiles x genes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Linear(width, width, bias=False)  # S
        nn.init.zeros_(self.scale.weight)

    def forward(self, z: Tensor, around: Neighbours) -> Tensor:
        """(n, width) tiles and their neighbours to (n, width) factors of the columns of genes."""
        z = self.norm(z)
        n = around.degrees[:, None].to(z.dtype)
        return 1 + torch.tanh(self.scale((z + n * around.mean(z)) / (n + 1)))
