"""Pairs of rows that differ in one factor, and the candidates for unknown protocols."""

from tsmlib.configs import get_config, list_configs, to_dict, views
from tsmlib.reference import candidate_protocols
from tsmlib.report.one_factor_pairs import one_factor_pairs

PAIRS = {(p.first, p.second): p for p in one_factor_pairs()}


def test_each_factor_of_the_tables_has_its_pairs():
    wanted = {
        ("k400", "k400_ss320"): "stored resolution",
        ("k400_ss320", "k400_100e"): "schedule",
        ("k400_dense", "k400_dense_100e"): "schedule",
        ("k400", "k400_video"): "storage",
        ("k400", "k400_gpu_normalize"): "GPU normalisation",
        ("sthv1", "sthv1_t16"): "frames",
        ("hmdb51", "hmdb51_t16"): "frames",
        ("sthv1", "sthv1_r101"): "backbone",
        ("k400_ss320", "k400_nl_gaussian"): "non-local",
        ("sthv1", "sthv1_mixup"): "blending",
        ("sthv1", "sthv1_flip"): "flip",
        ("sthv1_flip", "sthv1_flip_randaugment"): "augmentation",
        ("k400_ss320", "k400_dense"): "dense sampling",
    }
    assert {pair: PAIRS[pair].factor for pair in wanted} == wanted


def test_what_changes_along_is_said():
    assert PAIRS["k400", "k400_video"].along == ("lr",)
    assert PAIRS["sthv2", "sthv2_t16"].along == ()
    assert "test_crops" in PAIRS["k400", "k400_t16"].along  # the published views differ


def test_rows_that_differ_in_more_are_no_pair():
    for pair in (("k400", "k400_100e"), ("sthv1", "sthv2"), ("hmdb51", "ucf101")):
        assert pair not in PAIRS
    factors = {"name", "published", "eval_interval"}
    for pair in PAIRS.values():
        a, b = to_dict(get_config(pair.first)), to_dict(get_config(pair.second))
        assert a["dataset"] == b["dataset"]
        assert {k for k in a if a[k] != b[k]} - factors - set(pair.along)


def test_rows_with_unknown_views_have_two_candidates():
    two = [n for n in list_configs() if len(candidate_protocols(get_config(n))) == 2]
    assert two == ["k400_dense", "k400_dense_100e", "k400_t16_340x256", "k400_t16", "k400_t16_100e"]
    counts = [views(get_config("k400_t16"), p)["crops"] for p in ("published", "validation")]
    assert counts == [10, 1]
