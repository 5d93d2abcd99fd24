"""What is committed agrees: notebooks, records, summary and README."""

import re
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from tsmlib import reference, results
from tsmlib.configs import get_config, list_configs, load_config
from tsmlib.notebook import tidy
from tsmlib.records import SUMS, read_checked
from tsmlib.report.readme import summarise_runs
from tsmlib.study.publish import SMALL

HOME = Path(__file__).parents[2]
NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))
RECORDS = sorted((HOME / "results" / "runs").glob("*/*/metrics.json"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_thin_executed_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and len(cells) <= 15
    assert not re.search(r"^(def|class) ", "\n".join(c.source for c in cells), flags=re.M)
    assert all(len(c.source.splitlines()) <= 15 for c in cells if c is not tagged[0])
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))  # nbval compares nothing without them
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert path.stat().st_size < 200_000
    assert str(HOME) not in path.read_text() and "/tmp/" not in path.read_text()
    # a path for people starts elsewhere than the notebook, which may not write to it
    assert not re.search(r"^\w+ = display_path\(", "\n".join(c.source for c in cells), flags=re.M)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_listed_with_their_meaning(path):
    shown = CliRunner().invoke(papermill, ["--help-notebook", str(path)]).output
    cell = next(c for c in nbformat.read(path, as_version=4).cells
                if "parameters" in c.metadata.get("tags", []))  # fmt: skip
    for line in cell.source.splitlines():
        name, meaning = re.fullmatch(r"(\w+): \w+ = .*?  # (.*)", line).groups()
        assert f"{name}:" in shown and meaning[:30] in shown


def test_the_summary_says_what_the_records_say():
    runs = results.read_runs(HOME / "results" / "runs")
    assert (HOME / "results" / "summary.csv").read_text() == summarise_runs(runs)


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.parent.name)
def test_records_are_of_committed_code_and_reload(path):
    record, _ = read_checked(path.parent)
    assert (path.parent / SUMS).is_file()
    assert re.fullmatch(r"[0-9a-f]{12}", record["commit"])
    assert record["num_videos"] == record["num_listed"] and record["num_bad"] == 0
    assert load_config(path.parent / "config.json").hash == record["config_hash"]
    assert {p.name for p in path.parent.iterdir()} <= {
        *SMALL, SUMS, "scores.json.gz", results.PREDICTIONS
    }  # fmt: skip


def test_the_reference_covers_every_row():
    table = reference.read_reference()
    assert list(table.cfg) == list_configs() and len(table) == 36
    assert list(table.row_id) == [get_config(name).row_id for name in list_configs()]


def test_tidy_keeps_messages_and_no_progress_bars(tmp_path):
    texts = [
        "\rmodels:  50%|█████     | 1/2",
        "\rmodels: 100%|██████████| 2/2\n",
        "\r1/2",
        "\r2/2\n",
    ]
    written = [nbformat.v4.new_output("stream", name="stderr", text=text) for text in texts]
    folded = {"source_hidden": True}
    metadata = {"papermill": {}, "tags": ["hide-input"], "jupyter": folded}
    cells = [nbformat.v4.new_code_cell("x", outputs=shown, metadata=metadata)
             for shown in (written, written[:2])]  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    tidy(tmp_path / "n.ipynb")
    messages, bars = nbformat.read(tmp_path / "n.ipynb", as_version=4).cells
    assert [output.text for output in messages.outputs] == ["2/2\n"]
    assert not bars.outputs
    assert messages.metadata == {"tags": ["hide-input"], "jupyter": folded}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_opens_with_its_question_and_folds_its_set_up(path):
    first, *cells = nbformat.read(path, as_version=4).cells
    assert re.match(r"# .*\?\n", first.source), "the title is the question"
    setup = [c for c in cells if c.cell_type == "code"][:2]  # parameters, imports
    for cell in setup:
        assert cell.metadata["jupyter"]["source_hidden"] and "hide-input" in cell.metadata["tags"]
    assert any("answer(" in c.source for c in cells[:6]), "the answer comes first"
    assert not [o for c in cells for o in c.get("outputs", ()) if o.get("name") == "stderr"]
