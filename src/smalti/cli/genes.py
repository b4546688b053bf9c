"""``smalti genes``: vectors of what genes mean, a look at genes, and peaks on genes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from smalti.cli import options
from smalti.cli.activity import activity
from smalti.cli.say import say
from smalti.cli.words import Verb, read_here, tell
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags

_MYGENE = "mygene"
app = typer.Typer(
    no_args_is_help=True, help="Genes: what is written of them, and open chromatin on them."
)
app.command(cls=Verb)(activity)

GENES = "The genes"
"""A panel of the help."""
Vectors: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Vectors of genes, for methods that predict unseen ones: a file that `smalti genes "
        "vectors` wrote, or .parquet, .csv, .safetensors of others (GenePT, ESM).",
        rich_help_panel=GENES,
    ),
]
Unseen: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Genes to hide from training: highest (of mean, the easy protocol), random, blocks "
        "(whole gene sets, the hard one), names with commas, or a text file.",
        rich_help_panel=GENES,
    ),
]
NUnseen: TypeAlias = Annotated[
    int, typer.Option(min=1, help="How many genes to hide.", rich_help_panel=GENES)
]
Sets: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        help="Gene sets (.gmt) that --unseen blocks hides as a whole; repeatable.",
        rich_help_panel=GENES,
    ),
]


@app.command(cls=Verb)
def vectors(
    text: Annotated[
        list[Path],
        typer.Option(
            help="What is written of genes: gene sets (.gmt), a table with a column of symbols and "
            "one of text, or mygene (asks mygene.info); repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="tfidf (no weights); sentence:MODEL or states:MODEL, a folder or a name on the "
            "Hugging Face hub."
        ),
    ] = "tfidf",
    width: Annotated[int, typer.Option(min=1, help="Numbers per gene, of tfidf.")] = 256,
    words: Annotated[bool, typer.Option(help="Keep the words of each gene too (for sgn).")] = False,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Of a language model: tokens of a gene, at most.")
    ] = 512,
    prompt: Annotated[
        str, typer.Option(help="Of a language model: what it reads of a gene.")
    ] = "{name}: {text}",
    genes: Annotated[
        str | None, typer.Option(help="Names with commas or a file; all that have text.")
    ] = None,
    missing: Annotated[
        str, typer.Option(help="Genes without text: drop them, with a note, or error.")
    ] = "drop",
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", help="Take Gapdh for GAPDH, of mouse in human text.")
    ] = False,
    species: Annotated[str, typer.Option(help="Of --text mygene.")] = "human",
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps vectors.")] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Make vectors of genes from what is written about them."""
    from smalti.genes import gene_text, gene_vectors
    from smalti.system.files import check_free

    if out.suffix != ".safetensors":
        raise InputError(f"--out {out.name}: end it in .safetensors.")
    check_free(out, overwrite=overwrite, inputs=read_here("out"))
    names = None if genes is None else names_of(genes, "--genes")
    read = gene_text(names, sources=[_MYGENE if str(t) == _MYGENE else t for t in text],
                     missing=missing, ignore_case=ignore_case, species=species)  # fmt: skip
    found = gene_vectors(read, encoder, width=width, tokens=words, max_tokens=max_tokens,
                         prompt=prompt, cache=cache, seed=seed)  # fmt: skip
    found.save(out, overwrite=overwrite)
    for note in found.notes:
        tell(note)
    say(f"{found!r}: {out}")


@app.command(cls=Verb)
def explore(
    slides: Annotated[
        Path, typer.Argument(help="Training slides, .h5ad or .zarr: counts; no pictures are read.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for report.html, tables and pictures.")],
    slide: Annotated[str, typer.Option(help="Column that names the slide.")],
    counts: Annotated[str, typer.Option(help="X or layers/NAME.")] = "X",
    genes: Annotated[
        str | None,
        typer.Option(help="A number (of most variance, 1000), names with commas, or a file."),
    ] = None,
    ks: Annotated[str, typer.Option(help="Numbers of groups with commas.")] = "2,3,4,5,6,7,8,9,10",
    seeds: Annotated[int, typer.Option(min=2, help="Of k-means, for each number.")] = 5,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Look at genes before a fit: scale, correlations, and how many groups there are."""
    from smalti.genes import explore as look
    from smalti.io.anndata import read
    from smalti.report import write_finding

    check_folder(out, overwrite)
    numbers = options.listed(ks) or []
    if not all(n.isdigit() for n in numbers):
        raise InputError(f"--ks {ks!r}: numbers with commas.")
    many = genes is not None and not genes.isdigit()
    bags = read(slides, sample=slide, x={"counts": counts})
    found = look(
        bags, ks=[int(n) for n in numbers],
        genes=names_of(str(genes), "--genes") if many else int(genes or 1000), seeds=seeds,
        seed=seed,
    )  # fmt: skip
    write_finding(found, out, about=repr(bags), overwrite=overwrite)
    typer.echo(found.choice.round(3).to_string(index=False))
    say(f"{found.k} groups of {len(found.genes):,} genes")
    say(f"report: {out / 'report.html'}")


def check_folder(out: Path, overwrite: bool) -> None:
    """Refuse, before long work, a folder that cannot take what is found.

    Raises
    ------
    InputError
        If it has the name of a table, or other files are in it.
    """
    from smalti.system.files import check_free

    if out.suffix in (".csv", ".tsv", ".parquet"):
        raise InputError(f"--out {out}: name a folder; the table will be in it, as .csv.")
    check_free(out, overwrite=overwrite, inputs=read_here("out"))


def names_of(text: str, option: str) -> tuple[str, ...]:
    """Names with commas, or the lines of a file; each once.

    Raises
    ------
    InputError
        If the file is missing, or there is no name.
    """
    path = Path(text)
    if path.suffix in (".txt", ".csv", ".tsv") or path.exists():
        from smalti.system.reading import check_text

        check_text(path)
        parts = path.read_text(encoding="utf-8-sig").split("\n")
    else:
        parts = text.split(",")
    names = tuple(dict.fromkeys(x.strip() for x in parts if x.strip()))
    if not names:
        raise InputError(f"{option} {text!r} names no gene.")
    return names


def protocol_of(unseen: str | None) -> Any:
    """A protocol by name, or the names of genes."""
    from smalti.comparison.unseen import PROTOCOLS

    return unseen if unseen is None or unseen in PROTOCOLS else names_of(unseen, "--unseen")


def read_sets(files: list[Path] | None) -> dict[str, tuple[str, ...]] | None:
    """All gene sets of some files."""
    from smalti.genes import read_gmt

    return {k: v for f in files for k, v in read_gmt(f).items()} if files else None


def hide(
    model: Any, bags: Bags, unseen: str, n: int, sets: list[Path] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The genes to fit a model on, and those to hide from it.

    Raises
    ------
    InputError
        If the model cannot predict unseen genes, or the genes cannot be hidden.
    """
    from smalti.comparison.hiding import Hiding

    if not getattr(model, "vectors", None):
        raise InputError(
            f"--unseen hides genes from {model.name}: take a method for unseen genes, and give "
            "--vectors."
        )
    hiding = Hiding(protocol_of(unseen), n, model.vectors, read_sets(sets), model.genes)
    hidden = hiding.fold(bags, model.counts, model.units)
    for note in hiding.notes:
        tell(note)
    return hidden.seen, hidden.unseen
