"""What a fitted model says of itself to others, and where it puts itself for them."""

from __future__ import annotations

from typing import Any


class Publishing:
    """A model card, and a place on a hub of models."""

    def card(
        self, *, licence: str | None = None, scores: Any = None, label: str | None = None,
        repo: str = "USER/NAME",
    ) -> str:  # fmt: skip
        """What this fitted model is, by its own facts, as Markdown: a model card.

        Of the cohort it tells numbers, and no names of donors, bags or files.

        Parameters
        ----------
        licence
            Under which it may be used, such as "cc-by-4.0": yours to say.
        scores
            A comparison that this method took part in: the scores of the row that has its settings
            are told, with intervals.
        label
            Name of that row, where settings do not tell.
        repo
            Where it will be, for the lines that load it.

        Raises
        ------
        InputError
            If no row, or several, of ``scores`` have these settings; of an annotator, if ``label``
            does not say which row it is.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(20, seed=0)
        >>> text = sm.mil.BagMean(progress=False).fit(bags).card(licence="cc-by-4.0")
        >>> [line for line in text.splitlines() if line.startswith("## ")][:3]
        ['## How to use it', '## What it reads', '## Settings']
        """
        from smalti.core.card import card

        return card(self, licence=licence, scores=scores, label=label, repo=repo)

    def push_to_hub(
        self, repo: str, *, private: bool = True, token: str | None = None,
        revision: str | None = None, card: str | None = None,
    ) -> str:  # fmt: skip
        """Write the model and its card into a repository of a hub of models, in one commit.

        Parameters
        ----------
        repo
            ``USER/NAME``; it is made where it is not there.
        private
            Whether a new repository is for you alone. The model file holds names of classes,
            columns and features, settings as they are, and digests of donors' names: look before
            you say False.
        token
            Of the hub; the one that you have logged in with (``hf auth login``, ``HF_TOKEN``) where
            left out.
        revision
            A branch, made where it is not there; the main one where left out.
        card
            The text of ``README.md``; :meth:`card` where left out, which says no licence.

        Returns
        -------
        str
            The address of the commit, which :func:`smalti.load` takes: ``hf://USER/NAME@COMMIT``.

        Raises
        ------
        InputError
            If the hub refuses or cannot be reached, ``huggingface_hub`` is not installed (the extra
            ``hub``), or the model could not be loaded again.

        Notes
        -----
        The hub is that of ``huggingface_hub``, by its variable ``HF_ENDPOINT`` another one.
        """
        from smalti.core.hub import push

        text = self.card(repo=repo) if card is None else card
        return push(self, repo, card=text, private=private, token=token, revision=revision)
