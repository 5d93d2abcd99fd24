"""What the front page shows: tables and charts made of results/claims.csv and the records.

The README and notebooks/compare.ipynb show the same; `write_front` writes what is generated of it.
"""

import hashlib
import io
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, Markdown
from matplotlib.figure import Figure
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from ..configs import mini, standin_config
from ..models.recognizer import build_model, moved_channels
from ..paths import HOME, results_folder, write_whole
from ..results import beside_published, read_reference
from ..study.findings import intervals
from ..study.plan import Study, get_study, read_plan
from ..study.records import accuracies, recorded
from ..study.uncertainty import Clustered
from . import study_plots
from .claim_lines import definitions
from .claims import all_findings, claims, read_claims, write_claims

STANDIN = "stand-in data, mini scale: not comparable with published accuracies"
BEGIN = "<!-- claims: written by `python -m tsmlib.report.publish summary` -->"
END = "<!-- end of claims -->"
FIGURE = "![Accuracy of TSN and TSM, and the gain, over the share of order]"
MOST = 2  # measured differences that the README names of a claim
COLOURS = 16  # of a picture


# --- tables ---------------------------------------------------------------------------------------


def deltas(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of pairs of published rows, as people read them."""
    chosen = table[table["claim"] == "delta"]
    columns = shown(chosen)[["compared", "published", "measured", "verdict"]]
    return columns.set_index("compared")


def by_claim(table: pd.DataFrame) -> pd.DataFrame:
    """One line a claim of the paper: statement, how often each verdict, and what was measured."""
    lines = {}
    for claim, parts in table[table["statement"] != ""].groupby("claim", sort=False):
        counts = parts["verdict"].value_counts(sort=False)
        verdicts = ", ".join(f"{v} ({n})" if n > 1 else v for v, n in counts.items())
        ours = [
            f"{p.part}: {with_interval(p)}" + ", real data" * (p.data == "real")
            for p in parts[parts["n_seeds"] != ""].itertuples()
        ]
        more = f"; {len(ours) - MOST} more" if len(ours) > MOST else ""
        measured = "; ".join(ours[:MOST]) + more
        lines[claim] = {"statement": parts["statement"].iloc[0], "verdict": verdicts,
                        "measured, on stand-ins unless said": measured}  # fmt: skip
    return pd.DataFrame(lines).T.rename_axis("claim")


def with_interval(line) -> str:
    """`47.1 (45.0 to 49.2)`: what was measured, with its interval where it has one."""
    return _with_ends(line.measured, line.low, line.high)


def _with_ends(value: str, low: str, high: str) -> str:
    if not low:
        return str(value)
    return f"{float(value):.2f} ({float(low):.2f} to {float(high):.2f})"


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of the claims as people read them; every number is one of `claims.csv`."""
    ends = (table["published"], table["published_low"], table["published_high"])
    published = [_with_ends(*numbers) for numbers in zip(*ends, strict=True)]
    units = [unit * (text[-1:].isdigit() or text[-1:] == ")")
             for unit, text in zip(table["unit"], published, strict=True)]  # fmt: skip
    sources = zip(table["source"], table["note"], strict=True)
    return pd.DataFrame({
        "claim": table["claim"], "compared": table["part"],
        "published": [f"{p} {u}".strip() for p, u in zip(published, units, strict=True)],
        "measured": [_measured(line) for line in table.itertuples()],
        "verdict": table["verdict"],
        "source; note": ["; ".join(filter(None, pair)) for pair in sources],
    }).set_index("claim")  # fmt: skip


def _measured(line) -> str:
    """`11.47 (6.59 to 16.35): 10 seeds, standin; detectable 6.81`, as far as there is of it."""
    if not line.measured:
        return ""
    seeds = f"{line.n_seeds} seeds" if line.n_seeds else ""
    detectable = f"; detectable {float(line.mde):.2f}" if line.mde else ""
    return f"{with_interval(line)}: {', '.join(filter(None, (seeds, line.data)))}{detectable}"


def rows_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The 36 published rows: accuracies, the reference, ours, costs, and what contradicts itself.

    `reference` are re-trainings by MMAction2's authors with the code of MIT, not MIT's figures.
    """
    table, ours = read_reference().set_index("cfg"), beside_published(runs).set_index("cfg")
    names = {"resolution": "stored frames", "frames": "frames", "top1": "top1",
             "top1_accurate": "accurate", "ref_top1": "reference",
             "ref_top1_accurate": "reference, accurate"}  # fmt: skip
    shown = table[list(names)].rename(columns=names)
    shown["ours"], shown["ours, accurate"] = ours["ours_top1"], ours["ours_top1_accurate"]
    shown["videos/s"], shown["GPU memory (MB)"] = (
        table["inference_videos_per_s"], table["gpu_mem_mb"]
    )  # fmt: skip
    shown["note"] = pd.Series(definitions()["row_notes"])
    return shown.astype(object).fillna("")


def channels_moved(study: Study) -> dict[str, str]:
    """How many channels each arm moves each way, from the first shift to the last, for the chart.

    Of studies of `shift_div` alone; elsewhere nothing.
    """
    found = {}
    for arm in study.arms.values() if study.axis == "shift_div" else ():
        with torch.device("meta"):  # shapes alone
            moved = list(moved_channels(build_model(mini(standin_config(arm.cfg)))).values())
        found[arm.name] = f"moves {moved[0]} to {moved[-1]} channels" if moved else "moves none"
    return found


# --- charts ---------------------------------------------------------------------------------------


def differences_table(table: pd.DataFrame) -> pd.DataFrame:
    """Planned questions with a published difference, as `study_plots.differences` takes them."""
    chosen = table[(table["study"] != "") & (table["published_low"] != "")]
    names = {"measured": "difference", "low": "low_holm", "high": "high_holm"}
    chosen = chosen.rename(columns=names).drop_duplicates(["study", "question"])
    for name in ("difference", "low_holm", "high_holm", "published", "published_low",
                 "published_high", "margin"):  # fmt: skip
        chosen[name] = pd.to_numeric(chosen[name])
    return chosen.reset_index(drop=True)


def temporality(table: pd.DataFrame, published: bool = True) -> tuple[pd.DataFrame, pd.Series]:
    """Accuracies of that study's runs, and its finding on the slope, as the chart takes them.

    Args:
        table: of `claims.csv`.
        published: from the published records alone.
    """
    study = get_study("temporality")
    values = accuracies(study, known=recorded("runs") if published else None)
    line = table[(table["study"] == "temporality") & table["part"].str.startswith("slope")].iloc[0]
    numbers = pd.to_numeric(line[["measured", "low", "high"]])
    return values, numbers.rename({"measured": "difference"})


def on_real_video(published: bool = True) -> tuple[pd.DataFrame, dict[str, Clustered]]:
    """Accuracies of the studies of real videos and their intervals, as `study_plots.arms` takes.

    Args:
        published: from the published records alone.
    """
    known, columns, ends = recorded("runs") if published else recorded(), [], {}
    for study in (s for s in read_plan().values() if s.videos):
        prefix = f"{study.name} ({study.videos.name}): "
        columns.append(accuracies(study, known=known).add_prefix(prefix))
        ends |= {prefix + arm: found for arm, found in intervals(study, known).items()}
    return pd.concat(columns, axis=1), ends


def charts(table: pd.DataFrame) -> dict[str, tuple[Figure, str]]:
    """The figures of the front page by name, each with a hash of what it shows."""
    values, slope = temporality(table)
    drawn = {
        "temporality": (study_plots.temporality(values, slope, STANDIN)[0], (values, slope)),
        "differences": _differences(table),
        "claims": _verdicts(table),
    }
    return {name: (axes.figure, digest(*shows)) for name, (axes, shows) in drawn.items()}


def _differences(table: pd.DataFrame):
    chosen = differences_table(table)
    caption = "Published differences, real data at full scale, and ours, stand-in at mini scale"
    return study_plots.differences(chosen, caption), (chosen,)


def _verdicts(table: pd.DataFrame):
    chosen = table[table["statement"] != ""]
    return study_plots.verdicts(chosen), (chosen[["claim", "statement", "verdict"]],)


def digest(*shows: pd.DataFrame | pd.Series) -> str:
    """A hash of tables, to tell whether a figure is of them."""
    text = "".join(one.round(4).to_csv() for one in shows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compact(figure: Figure, dpi: int = 76, says: str = "") -> bytes:
    """A chart as PNG of few colours, and closed; `says` is kept in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    picture = Picture.open(buffer).convert("RGB").quantize(COLOURS, dither=Picture.Dither.NONE)
    return _png(picture, says)


def _png(picture: Picture.Image, says: str) -> bytes:
    information, buffer = PngInfo(), io.BytesIO()
    information.add_text("shows", says)
    picture.save(buffer, format="png", optimize=True, pnginfo=information)
    return buffer.getvalue()


def chart(axes, dpi: int = 72) -> Image:
    """A chart as a small picture, for a notebook that is committed."""
    figure = np.ravel(axes)[0].figure
    return Image(compact(figure, dpi), format="png")


def html(table: pd.DataFrame, headings: dict[str, str] | None = None) -> Markdown:
    """A whole table. As Markdown, whose tables Jupyter aligns on the left, unlike those of HTML.

    Args:
        table: its index is shown, unless there are headings.
        headings: a line above the rows of each value of the index.
    """
    shown, headings = table if headings else table.reset_index(), dict(headings or {})
    rows = [_row("th", shown.columns)]
    for name, line in zip(table.index, shown.to_numpy(), strict=True):
        if name in headings:
            heading = escape(f"{name}. {headings.pop(name)}")
            rows.append(f'<tr><th colspan="{len(line)}">{heading}</th></tr>')
        rows.append(_row("td", line))
    return Markdown("<table>" + "".join(rows) + "</table>")


def _row(tag: str, cells) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"


# --- what is generated ----------------------------------------------------------------------------


def write_front() -> list[Path]:
    """Write `claims.csv`, the figures, and the README's claims, from the published records."""
    root, readme = results_folder(), HOME / "README.md"
    written = [write_claims(claims(all_findings()))]
    table = read_claims()
    for name, (figure, says) in charts(table).items():
        file = root / "figures" / f"{name}.png"
        write_whole(file, compact(figure, dpi=110, says=says))
        written.append(file)
    if root == HOME / "results" and readme.is_file():
        write_whole(readme, with_claims(readme.read_text(), table))
        written.append(readme)
    return written


def with_claims(readme: str, table: pd.DataFrame) -> str:
    """The README's text with its headline figure and its table of claims written anew."""
    before, rest = readme.split(BEGIN)
    lines = [f"{FIGURE}(results/figures/temporality.png)", "", *markdown(by_claim(table))]
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.split(END)[1]


def markdown(table: pd.DataFrame) -> list[str]:
    """Lines of a table."""
    table = table.reset_index()
    lines = [list(table), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return [
        "| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines
    ]
