"""Names of rows and fields, and values that a field can have or not."""

import csv
import logging
from pathlib import Path

import pytest
import yaml

from tsmlib import OnlineTSM, build_model
from tsmlib.configs import (
    ConfigError,
    changed_fields,
    from_dict,
    get_config,
    list_configs,
    list_own_configs,
    mini,
    validation_protocol,
    views,
)
from tsmlib.reference import published_accuracy

HERE = Path(__file__).parents[1]
FACTS = yaml.safe_load((HERE / "golden/configs.yaml").read_text())
with (HERE.parent / "results/reference.csv").open() as file:
    REFERENCE = {row["row_id"]: row for row in csv.DictReader(file)}


# --- names ----------------------------------------------------------------------------------------


def test_names_are_those_of_the_tables():
    names = list_configs()
    assert len(names) == len(set(names)) == 36
    assert all(n and set(n) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for n in names)
    assert [get_config(n).row_id for n in names] == list(REFERENCE) == list(FACTS["rows"])
    assert [get_config(n).name for n in names] == names


FEW_CLIPS = ("few_clips", "few_clips_scratch")


@pytest.mark.parametrize("name", list_own_configs())
def test_rows_of_ours_stand_beside_the_published_ones(name):
    cfg = get_config(name)
    assert cfg.name == name and cfg.published == "" and name not in list_configs()
    assert changed_fields(cfg) == {} and published_accuracy(name, "published") == {}
    assert cfg.is_shift and not cfg.non_local
    if name not in FEW_CLIPS:
        assert cfg.shift_direction == "unidirectional"
        OnlineTSM(build_model(mini(cfg)))  # refuses what is no stream


def test_a_row_of_ours_for_each_published_backbone():
    found = {get_config(name).backbone for name in list_own_configs() if name not in FEW_CLIPS}
    assert found >= {get_config(name).backbone for name in list_configs()}


@pytest.mark.parametrize("name", list_configs())
def test_row_has_several_names(name):
    cfg = get_config(name)
    assert get_config(cfg.row_id) == cfg
    for label in (cfg.published, f"{cfg.published}.py"):
        found = get_config(label)
        assert found.published == cfg.published
        assert found == cfg or found.resolution == "short-side 256"


@pytest.mark.parametrize(
    ("label", "taken", "others"),
    [
        ("tsm_r50_1x1x8_50e_kinetics400_rgb", "k400", ["k400_340x256", "k400_ss320"]),
        ("tsm_r50_1x1x16_50e_kinetics400_rgb", "k400_t16", ["k400_t16_340x256"]),
    ],
)
def test_ambiguous_label_takes_short_side_256(label, taken, others, caplog, monkeypatch):
    # notebook.parameters() hands the package's messages to a handler of its own
    monkeypatch.setattr(logging.getLogger("tsmlib"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="tsmlib"):
        assert get_config(label).name == taken
    assert all(other in caplog.text for other in others)


def test_33_labels_serve_36_rows(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tsmlib"), "propagate", True)
    labels = {get_config(n).published for n in list_configs()}
    with caplog.at_level(logging.WARNING, logger="tsmlib"):
        assert len(labels) == 33 == len({get_config(label).name for label in labels})
    assert len(caplog.records) == 2  # no word where there is no choice


@pytest.mark.parametrize(
    ("name", "near"), [("sthv11", "sthv1"), ("k400_dens", "k400_dense"), ("hmdb", "hmdb51")]
)
def test_unknown_name_lists_the_closest(name, near):
    with pytest.raises(ConfigError, match=f"{name!r}; closest: .*{near}"):
        get_config(name)


def test_unknown_name_far_from_all():
    with pytest.raises(ConfigError, match="`tsm list` names all rows"):
        get_config("zzz")


@pytest.mark.parametrize(
    ("field", "near"), [("learning_rate", "lr|clip_grad|"), ("num_segment", "num_segments")]
)
def test_unknown_field_lists_the_closest(field, near):
    with pytest.raises(ConfigError, match=f"{field!r}; (closest: .*{near}|see )"):
        get_config("sthv1", **{field: 1})
    with pytest.raises(ConfigError, match=repr(field)):
        from_dict({field: 1})


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", "many"), ("epochs", 2.5), ("epochs", True), ("epochs", None), ("epochs", 0),
        ("epochs", -1), ("epochs", float("inf")), ("num_segments", 0), ("shift_div", 0),
        ("shift_div", -8),
        ("batch_size", 0), ("videos_per_device", 0), ("crop_size", 0), ("num_classes", 0),
        ("lr", "fast"), ("lr", 0), ("lr", -0.1), ("lr", float("nan")), ("lr", False),
        ("is_shift", 1), ("is_shift", "yes"), ("fc_lr5", None), ("dropout", 1.5),
        ("flip", -0.1), ("width", 0), ("clip_grad", 0), ("backbone", "resnet9"),
        ("backbone", None), ("shift_place", "before"), ("non_local", "full"), ("test_crops", 5),
        ("dataset", "imagenet"), ("optimizer", "SGD"), ("schedule", "linear"),
        ("milestones", 20), ("milestones", (20.5,)), ("milestones", "20"), ("depth", ("a",)),
        ("flip_label_map", [1, 2]), ("flip_label_map", {"left": "right"}), ("train_list", 3),
        ("train_list", None), ("pretrain", None),
    ],
)  # fmt: skip
def test_impossible_value_is_named(field, value):
    with pytest.raises(ConfigError) as error:
        get_config("sthv1", **{field: value})
    shown = repr(value) if isinstance(value, str) else str(value)
    assert field in str(error.value)
    assert value is None or shown in str(error.value)


def test_possible_values_are_listed():
    with pytest.raises(ConfigError, match="blockres, block"):
        get_config("sthv1", shift_place="before")
    with pytest.raises(ConfigError, match="concatenation, none"):
        get_config("sthv1", non_local="full")


def test_values_that_exclude_each_other():
    with pytest.raises(ConfigError, match="val_crop_size=300 .* short_side=256"):
        get_config("sthv1", val_crop_size=300)
    with pytest.raises(ConfigError, match="2 names, num_classes is 174"):
        get_config("sthv1", class_names=("a", "b"))
    with pytest.raises(ConfigError, match="sends 3 to 5 but not 5 back to 3"):
        get_config("sthv1", flip_label_map={3: 5})
    with pytest.raises(ConfigError, match="label 174 of 174 classes"):
        get_config("sthv1", flip_label_map={3: 174, 174: 3})


def test_values_of_files_become_the_declared_types():
    """JSON and YAML know no tuples and no int keys; `none` stands for None."""
    cfg = get_config(
        "sthv1", milestones=[5, 8], flip_label_map={"0": 1, "1": 0}, lr=1, non_local="none"
    )
    assert cfg.milestones == (5, 8) and cfg.flip_label_map == {0: 1, 1: 0}
    assert type(cfg.lr) is float and cfg.non_local is None


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        get_config("sthv1").lr = 1.0


# --- protocols ------------------------------------------------------------------------------------


def test_protocols():
    sthv1 = get_config("sthv1")
    assert views(sthv1, "efficient") == {"clips": 1, "crops": 1, "size": 224}
    assert views(sthv1, "accurate") == {"clips": 2, "crops": 3, "size": 256}
    assert views(get_config("jester"), "efficient") == {"clips": 1, "crops": 1, "size": 256}
    for name in ("k400", "hmdb51", "diving48"):
        for protocol in ("efficient", "accurate"):
            with pytest.raises(ConfigError, match=f"{protocol}.*only"):
                views(get_config(name), protocol)
    with pytest.raises(ConfigError, match="'fast' is unknown; .*published, efficient"):
        views(sthv1, "fast")


def test_what_training_measures_has_the_published_name():
    """Something-Something's validation is `efficient`; where it equals the test, `published`."""
    named = {name: validation_protocol(get_config(name)) for name in list_configs()}
    for name, protocol in named.items():
        row = FACTS["rows"][get_config(name).row_id]
        same = row["val_views"] == row["test_views"]
        two = bool(REFERENCE[get_config(name).row_id]["top1_accurate"])
        assert protocol == ("published" if same else "efficient" if two else "validation")


def test_a_configuration_is_shown_as_a_short_table():
    cfg = get_config("k400_nl_gaussian", lr=0.005, train_list="mine.txt")
    lines = repr(cfg).splitlines()
    assert str(cfg) == repr(cfg) and lines[0] == "Config k400_nl_gaussian"
    rows = dict(line[2:].split(maxsplit=1) for line in lines[1:])
    assert (rows["backbone"], rows["is_shift"]) == ("resnet50", "yes")
    assert rows["non_local"] == "gaussian" and "flip_label_map" not in rows
    assert {line[2:].split()[0] for line in lines if line[1] == "*"} == {"lr", "train_list"}
    assert len(lines) < 30 and max(map(len, lines)) < 84
