"""Sphinx settings. What is generated (methods, reference, verbs) is made in ``_ext``."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import smalti

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "smalti"
author = copyright = "The smalti developers"
release = version = smalti.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxext.opengraph",
    "mathml",
    "method_pages",
    "notebooks",
    "reference_pages",
    "spreads",
    "verb_pages",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute", "**/.ipynb_checkpoints"]
# names of attributes that several classes have
suppress_warnings = ["ref.python"]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"smalti {version}"
html_static_path = ["_static"]
html_css_files = ["smalti.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

ogp_site_url = "https://smalti.readthedocs.io/"
ogp_image = "_images/slide.png"
ogp_social_cards = {"enable": False}  # they would need a font and a network

# Notebooks run while the pages are built, each in a folder of its own; one that fails fails the
# build. What ran is kept for as long as neither its code nor the package changes.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # warnings name files of the machine that built the pages
real = ["tutorials/real-cohort.md"]  # reads a cohort that is not part of the repository
nb_execution_excludepatterns = [] if os.environ.get("SMALTI_DATA") else real


def digest_of(folder: Path) -> str:
    """Of all that a notebook imports of ours."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


nb_execution_cache_path = str(
    HERE / "_build" / "notebooks" / digest_of(Path(smalti.__file__).parent)
)

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes that are told twice are one

INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "matplotlib": "https://matplotlib.org/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "anndata": "https://anndata.readthedocs.io/en/stable/",
    "mudata": "https://mudata.readthedocs.io/stable/",
    "spatialdata": "https://spatialdata.scverse.org/en/stable/",
}


def reachable(address: str) -> bool:
    """Whether pages of others can be linked to; without a network all else is the same."""
    try:
        with urlopen(address + "objects.inv", timeout=3):
            return True
    except (URLError, OSError, ValueError):
        return False


intersphinx_mapping = (
    {name: (address, None) for name, address in INVENTORIES.items() if reachable(address)}
    if reachable(INVENTORIES["python"])
    else {}
)
