"""What notebooks show while they run."""

import nbformat
from nbclient import NotebookClient

from tsmlib.notebook import tidy

SOURCE = """
from tsmlib import progress
from tsmlib.notebook import CellStatus

progress.show_in(CellStatus())
with progress.Progress("work", 2, "items") as work:
    work.say("a line")
    work.advance()
print("done")
"""


def test_progress_under_a_cell_is_removed_at_its_end(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    NotebookClient(notebook, kernel_name="python3").execute()
    status, printed = notebook.cells[0].outputs
    assert status.data == {"text/plain": ""} and printed.text == "done\n"
    nbformat.write(notebook, tmp_path / "n.ipynb")
    tidy(tmp_path / "n.ipynb")
    (cell,) = nbformat.read(tmp_path / "n.ipynb", as_version=4).cells
    assert [output.output_type for output in cell.outputs] == ["stream"]
