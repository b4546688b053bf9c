"""Pictures, ``sm.plot`` or ``sm.pl``: none touches pyplot or any other global state.

Those of one panel draw into ``ax=`` and return these ``Axes``; those of several draw on ``fig=``, a
figure or a subfigure, and return the ``Figure``. A notebook shows both (see decision 10).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
