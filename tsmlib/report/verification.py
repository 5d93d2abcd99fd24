"""Recompute the claims from the published records."""

from ..paths import results_folder
from ..results import read_runs
from .claims import all_findings, judge_claims, read_claims


def verify_claims() -> list[str]:
    """Recompute gates, intervals and verdicts from the published records.

    Returns:
        A sentence on each line of claims.csv that they do not give.
    """
    runs = read_runs(results_folder() / "runs")
    found, written = judge_claims(all_findings(), runs), read_claims()
    keys = ["claim", "evidence", "part", "study"]
    expected = {tuple(row[key] for key in keys): row for row in found.to_dict("records")}
    stated = {tuple(row[key] for key in keys): row for row in written.to_dict("records")}
    wrong = [
        f"claims.csv, {claim}, {part}: the records give no such line"
        for claim, _, part, _ in stated.keys() - expected.keys()
    ]
    for key, row in expected.items():
        line = stated.get(key, {})
        wrong += [
            f"claims.csv, {key[0]}, {key[2]}: {name} is {line.get(name, 'missing')!r}, the records "
            f"give {row[name]!r}"
            for name in ("verdict", "measured", "low", "high", "n_seeds")
            if line.get(name) != row[name]
        ]
    return wrong
