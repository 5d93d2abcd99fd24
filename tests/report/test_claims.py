"""The claims: every one is there, nothing of them is typed, and all who show them agree."""

import io
import json
from html import escape
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from PIL import Image

from tsmlib import get_config, list_configs, outputs
from tsmlib.configs import ConfigError
from tsmlib.outputs import to_small_png
from tsmlib.reference import published_accuracy
from tsmlib.report import tables, verification
from tsmlib.report.claims import (
    NOT_ESTABLISHED,
    all_findings,
    as_text,
    claim_rows,
    pair_rows,
    part_row,
    published_row_rows,
    read_claims,
    read_definitions,
)
from tsmlib.report.computed_claims import CHECKS
from tsmlib.report.evidence import (
    BY_OTHERS,
    COUNTED_HERE,
    EVIDENCE,
    describe_cell,
    summarise_evidence,
)
from tsmlib.report.figures import draw_figures
from tsmlib.report.one_factor_pairs import one_factor_pairs
from tsmlib.report.readme import update_claims_page, update_readme
from tsmlib.results import read_runs, write_record
from tsmlib.study.findings import Measured, published_weight_results, training_results
from tsmlib.study.plan import read_plan
from tsmlib.study.verdicts import VERDICTS

HOME = Path(__file__).parents[2]
NAMES = ("claim", "published", "source", "measured", "low", "high", "n_seeds", "data", "scale",
         "runs", "verdict")  # fmt: skip
COMMITTED = read_claims(HOME / "results")
CHECKED = [(claim, part) for claim, fields in read_definitions()["claims"].items()
           for part in fields.get("parts", ()) if "check" in part]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """Return the findings of the committed records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSM_RESULTS", str(HOME / "results"))
        return all_findings()


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return read_runs(HOME / "results" / "runs")


def same(lines: list[dict], kind: str) -> None:
    expected = COMMITTED[COMMITTED["claim"] == kind].reset_index(drop=True)
    pd.testing.assert_frame_equal(as_text(lines), expected, check_dtype=False)


# --- claims.csv is what the code computes ---------------------------------------------------------


def test_every_claim_has_a_line_and_every_line_its_cells():
    assert set(NAMES) <= set(COMMITTED)
    assert list(read_definitions()["claims"]) == [f"C{n}" for n in range(1, 22)]
    assert {f"C{n}" for n in range(1, 22)} <= set(COMMITTED["claim"])
    assert set(COMMITTED["verdict"]) <= set(VERDICTS)
    assert (COMMITTED["published"] != "").all()
    assert (COMMITTED.loc[COMMITTED["n_seeds"] != "", "runs"] != "").all()
    measured = COMMITTED["measured"] != ""
    assert (COMMITTED.loc[measured, ["data", "runs"]] != "").all(axis=None)
    assert (COMMITTED.loc[~measured, "verdict"] == "not measured here").all()
    assert set(COMMITTED["evidence"]) == set(EVIDENCE)


@pytest.mark.parametrize(("claim", "part"), CHECKED, ids=lambda v: v if isinstance(v, str) else "")
def test_computed_claims(claim, part, runs):
    line = as_text([part_row(part, runs) | {"claim": claim}]).iloc[0]
    lines = COMMITTED[(COMMITTED["claim"] == claim) & (COMMITTED["part"] == part["what"])]
    assert len(lines) == 1
    for name in ("published", "measured", "verdict", "runs", "source"):
        assert line[name] == lines.iloc[0][name]


@pytest.fixture(scope="module")
def checks():
    """Return checks that answer what the file says, which `test_computed_claims` has compared."""
    lines = COMMITTED[COMMITTED["data"] == "computed"].drop_duplicates("runs")
    known = lines.set_index("runs")["measured"].to_dict()

    def answer(name):
        def check(*arguments):
            call = f"{CHECKS[name].__module__}.{name}({', '.join(map(repr, arguments))})"
            return float(known[call])

        return check

    return {name: answer(name) for name in CHECKS}


@pytest.mark.parametrize("claim", read_definitions()["claims"])
def test_lines_of_a_claim(claim, found, runs, checks):
    same(claim_rows(claim, read_definitions()["claims"][claim], runs, found, checks), claim)


def test_lines_of_the_published_rows(runs):
    same([line for row in list_configs() for line in published_row_rows(row, runs)], "row")


def test_lines_of_differences_of_rows(found, runs):
    pairs = one_factor_pairs()
    same([line for pair in pairs for line in pair_rows(pair, runs, found)], "delta")
    parts = COMMITTED.loc[COMMITTED["claim"] == "delta", "part"]
    for pair in pairs:
        rows = {f"{pair.second} minus {pair.first}", f"{pair.first} minus {pair.second}"}
        assert sum(any(f" {r}," in part for r in rows) for part in parts) in (1, 2)


def test_every_planned_question_has_a_line(found):
    asked = set(zip(COMMITTED["study"], COMMITTED["question"], strict=True))
    for name, planned in read_plan().items():
        assert name == "quick" or all((name, q.name) in asked for q in planned.questions)


def test_a_line_that_the_records_do_not_give_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(verification, "judge_claims", lambda *_: COMMITTED)
    monkeypatch.setattr(verification, "all_findings", lambda: None)
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    planted = COMMITTED.copy()
    verdict, number = planted.index[planted["claim"] == "C10"][0], planted.index[-3]
    planted.loc[verdict, "verdict"], planted.loc[number, "measured"] = "counted", "99"
    planted.iloc[:-2].to_csv(tmp_path / "claims.csv", index=False)
    wrong = "\n".join(verification.verify_claims())
    assert "verdict is 'counted', the records give 'not measured here'" in wrong
    assert f"measured is '99', the records give '{COMMITTED.loc[number, 'measured']}'" in wrong
    assert wrong.count("is 'missing'") == 10  # five cells of two lines
    COMMITTED.to_csv(tmp_path / "claims.csv", index=False)
    assert verification.verify_claims() == []


# --- those who show it ----------------------------------------------------------------------------


def test_readme_and_docs_show_the_records(runs, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(HOME / "results"))
    readme, page = (HOME / "README.md").read_text(), (HOME / "docs" / "claims.md").read_text()
    peers = pd.read_csv(HOME / "results" / "parity.csv")
    assert update_readme(readme, COMMITTED, runs, peers) == readme
    assert update_claims_page(page, COMMITTED, runs) == page
    for n in range(1, 22):
        assert f"| C{n} |" in page


def test_figures_are_of_the_committed_records(runs, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(HOME / "results"))
    for name, (figure, shows) in draw_figures(runs).items():
        to_small_png(figure, dpi=10)  # and closed
        with Image.open(HOME / "results" / "figures" / f"{name}.png") as picture:
            assert picture.text["shows"] == shows, f"{name}.png is older than the records"


def notebook_tables() -> list[str]:
    cells = nbformat.read(HOME / "notebooks" / "compare.ipynb", as_version=4).cells
    outputs = [o for c in cells for o in c.get("outputs", ())]
    kind = "text/markdown"
    return ["".join(o["data"][kind]) for o in outputs if kind in o.get("data", {})]


def test_the_notebook_shows_the_claims():
    """The very cells of `claims.csv`, as the notebook's own calls make them of it."""
    of_paper = COMMITTED[COMMITTED["statement"] != ""]
    statements = of_paper.drop_duplicates("claim").set_index("claim")["statement"]
    folded = "All comparisons, claim by claim"
    shown = outputs.table(tables.to_display(of_paper), headings=statements.to_dict(), folded=folded)
    shown = shown.data
    assert shown in notebook_tables() and all(escape(text) in shown for text in statements)
    folded = "All pairs of rows that differ in one factor"
    assert outputs.table(tables.row_differences(COMMITTED), folded=folded).data in notebook_tables()


# --- what a line says -----------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path, monkeypatch):
    """Writes a record at full scale on real data, and reads all of them."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))

    def write(seed: int | None, top1: float, name: str = "sthv1", changes=None, **record):
        cfg = get_config(name, **(changes or {}))
        whole = {"cfg": name, "kind": "training", "data": "real", "scale": "full", "seed": seed,
                 "protocol": "efficient", "top1": top1, "num_videos": 11522, "num_listed": 11522,
                 "precision": "32-true", "config_hash": cfg.hash}  # fmt: skip
        folder = f"run{len(list(tmp_path.glob('runs/*/*')))}"
        write_record(tmp_path / "runs" / name / folder, cfg, {**whole, **record}, [])
        return read_runs(tmp_path / "runs")

    return write


EFFICIENT = {"cfg": "sthv1", "protocol": "efficient"}


def test_trainings_at_full_scale(full):
    full(0, 45.0)
    full(1, 46.0)
    full(0, 45.2, kind="evaluation", checkpoint_of="run0")  # the same seed counts once
    full(2, 99.0, scale="mini")
    full(3, 99.0, precision="bf16-mixed")
    full(4, 99.0, protocol="published")
    runs = full(5, 20.0, changes={"is_shift": False})
    ours = training_results(runs, EFFICIENT)
    assert (ours.value, ours.seeds, ours.coverage, ours.trained) == (45.5, 2, 1.0, True)
    assert ours.se == pytest.approx((0.4639**2 + 0.5**2) ** 0.5, abs=1e-3)
    assert training_results(runs, {"cfg": "sthv1", "protocol": "accurate"}).value == 99.0
    gain = ours.minus(training_results(runs, EFFICIENT | {"changes": {"is_shift": False}}))
    assert gain.value == 25.5 and gain.seeds == 1 and len(gain.runs) == 3
    assert ours.minus(Measured()).value is None
    assert training_results(runs, {"cfg": "k400"}).value is None


def test_a_short_list_does_not_count(full):
    runs = full(0, 45.58, num_videos=9000, num_listed=9000)
    assert training_results(runs, EFFICIENT).coverage == pytest.approx(9000 / 11522)
    assert {line["verdict"] for line in published_row_rows("sthv1", runs)} == {"not measured here"}


def test_verdicts_of_rows(full):
    published = published_accuracy("sthv1", "efficient")["top1"]
    full(0, published + 0.5)
    runs = full(None, published + 0.1, kind="evaluation", published_weights=True)
    assert published_weight_results(runs, EFFICIENT).value == pytest.approx(published + 0.1)
    lines = [
        line for line in published_row_rows("sthv1", runs) if line["part"] == "sthv1, efficient"
    ]
    assert [line["verdict"] for line in lines] == ["re-evaluated", "re-trained"]
    assert [line["n_seeds"] for line in lines] == [None, 1]


def test_full_scale_goes_before_the_stand_in(full, found):
    full(0, 45.0)
    runs = full(0, 46.0, "sthv1_mixup")
    pair = next(p for p in one_factor_pairs() if p[:2] == ("sthv1", "sthv1_mixup"))
    efficient, accurate = pair_rows(pair, runs, found)
    assert (efficient["data"], efficient["measured"]) == ("real", 1.0)
    assert efficient["verdict"] == "re-trained"
    assert accurate["verdict"] == "not measured here"
    assert accurate["note"].startswith(NOT_ESTABLISHED)


def test_parts_that_nothing_here_can_measure(runs):
    part = {"what": "latency", "published": "17.4", "source": "notes", "needs": "hardware"}
    line = part_row(part, runs)
    assert (line["verdict"], line["evidence"]) == ("not measured here", COUNTED_HERE)
    part |= {"published": {"of": 74.1, "over": 73.3, "data": "k400"}, "needs": "data"}
    line = part_row(part, runs)
    assert (line["verdict"], line["note"]) == ("not measured here", NOT_ESTABLISHED)
    part |= {"published": {"of": 74.1, "over": 70.6, "data": "k400"}}
    assert part_row(part, runs)["note"] == ""


def test_what_was_timed_is_added_in_percent(runs):
    part = {"what": "latency", "published": "3", "source": "notes", "timed": "shift_eager"}
    record = json.loads((HOME / "results/benchmarks/amd-epyc-2-cores.json").read_text())
    ratio = record["ratios"]["shift_eager"]
    line = part_row(part | {"unit": "%"}, runs)
    assert line["verdict"] == "timed (CPU)"
    assert line["measured"] == pytest.approx(100 * (ratio["median"] - 1))
    assert part_row(part | {"unit": "times"}, runs)["high"] == ratio["q75"]


def test_what_others_measured(runs):
    part = {"what": "gain", "published": "more", "source": "census"}
    line = part_row(part | {"others": ["TSM over TSN", "Something-Something V1"]}, runs)
    assert line["evidence"] == BY_OTHERS and line["verdict"] == "replicated by others"
    assert line["low"] < line["measured"] < line["high"]
    line = part_row(part | {"others": ["TSM over TSN", "Something-Something V2"]}, runs)
    assert line["verdict"] == "not measured here" and "no comparable pair" in line["note"]
    reached = ["Something-Something V2", "ResNet-50", "16", "one clip"]
    line = part_row(part | {"published": 63.4, "reached": reached}, runs)
    assert (line["verdict"], line["measured"]) == ("not replicated by others", 58.9)
    assert "0 of 9 trainings within a point of 63.4 %" in line["note"]


# --- one line a claim -----------------------------------------------------------------------------


def test_each_claim_has_one_line_with_a_verdict_of_each_kind():
    lines = summarise_evidence(COMMITTED, read_definitions()["claims"])
    assert list(lines.index) == [f"C{n}" for n in range(1, 22)]
    for kind in EVIDENCE:
        for cell in lines[kind]:
            verdict = cell.split("**")[1] if "**" in cell else cell
            assert verdict.replace("≥ 2", ">= m") in VERDICTS, cell
    assert (lines["what would change it"] != "").all()


def test_of_equal_questions_the_one_that_detects_less_is_shown():
    coarse, fine = EARLY | {"mde": "9", "study": "first"}, EARLY | {"mde": "2", "study": "second"}
    other = EARLY | {"part": "another question", "mde": "1"}
    cell = cells_of(coarse, fine, other)
    assert "second, b: -3.0 points (-4.0 to -2.0), detectable 2.0</sub>; also 2 not" in cell


def test_numbers_of_others_are_shown_up_to_three():
    rows = [{"verdict": "replicated by others", "part": name, "measured": str(i), "note": "1 pair",
             "evidence": BY_OTHERS} for i, name in enumerate("abcd", 1)]  # fmt: skip
    rows.append(rows[0] | {"verdict": "not replicated by others"})
    assert cells_of(*rows) == (
        "**replicated by others**: a: +1.0 points (1 pair); b: +2.0 points (1 pair); "
        "c: +3.0 points (1 pair); also 1 replicated by others, 1 not replicated by others"
    )


def test_push_ups_need_no_learning():
    """What the page says of the sign of the vertical motion is what the table gives."""
    table = pd.read_csv(HOME / "results" / "pushups" / "vertical_motion.csv")
    right = ((table["motion"] > 0) == (table["label"] == 0)).sum()
    assert f"right on {right} of {len(table)} clips" in (HOME / "docs" / "claims.md").read_text()


def cells_of(*rows: dict) -> str:
    empty = dict.fromkeys(COMMITTED, "") | {"evidence": "trained here", "unit": "points"}
    return describe_cell(pd.DataFrame([empty | row for row in rows]))


BUILT = {"verdict": "by construction", "part": "a", "measured": "5", "study": "order"}
EARLY = {"verdict": "not converged", "part": "b", "measured": "-3", "low": "-4", "high": "-2"}
SAME = {"verdict": "no difference >= m at convergence", "part": "c", "measured": "0.26",
        "margin": "2", "mde": "1.2"}  # fmt: skip


def test_a_cell_shows_the_weightiest_verdict_and_counts_the_others():
    assert cells_of({"verdict": "not measured here"}) == "not measured here"
    assert cells_of(BUILT) == "**by construction**: order, a: +5.0 points"
    early = "<sub>speed of learning, b: -3.0 points (-4.0 to -2.0)</sub>"
    assert cells_of(BUILT, EARLY) == f"**not converged**: {early}; also 1 by construction"
    assert cells_of(BUILT, EARLY, SAME) == (
        "**no difference ≥ 2 at convergence**: c: +0.3 points, detectable 1.2; "
        "also 1 by construction, 1 not converged"
    )
    agrees = SAME | {"verdict": "agrees at convergence", "part": "d"}
    against = agrees | {"verdict": "contradicted at convergence", "part": "e"}
    for parts in ((agrees, against), (against, agrees, SAME)):
        assert cells_of(*parts).startswith("**contradicted at convergence**: e: ")
    assert cells_of(agrees, SAME).startswith("**no difference ≥ 2 at convergence**: c: ")


def test_a_misspelt_part(runs, found):
    with pytest.raises(ConfigError, match="claims.yaml, C1: chek is unknown"):
        claim_rows("C1", {"statement": "", "parts": [{"what": "", "chek": []}]}, runs, found)


def test_cells():
    cells = {"measured": 1.0, "low": 0.123456, "high": None, "published": "+2",
             "mde": float("nan"), "n_seeds": 24327632}  # fmt: skip
    expected = ["1", "0.1235", "", "+2", "", "24327632"]
    assert as_text([cells]).iloc[0][list(cells)].tolist() == expected


def test_pictures_are_small_and_say_what_they_show():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    ax.plot([0, 1])
    with Image.open(io.BytesIO(to_small_png(figure, shows="this"))) as picture:
        assert picture.text["shows"] == "this" and picture.mode == "P"


def test_the_whole_rows_table(runs):
    table = tables.published_rows(runs)
    assert len(table) == 36 and {"reference", "videos/s", "GPU memory (MB)", "note"} <= set(table)
    assert set(read_definitions()["row_notes"]) <= set(list_configs())
    assert "ResNet-101" in table.loc["sthv1_r101", "note"]
