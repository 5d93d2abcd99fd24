"""A user's own YAML file: what it sets, and the sentence for whatever is wrong with it."""

from pathlib import Path

import pytest

from tsmlib.configs import (
    ConfigError,
    get_config,
    mini,
)

OWN = "base: sthv1\ntrain_list: train.txt\nval_list: val.txt\nnum_classes: 3\n"


@pytest.fixture
def own_file(tmp_path):
    def write(text: str, name: str = "mine.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_yaml_is_a_row_with_changes(own_file, tmp_path):
    cfg = get_config(str(own_file(OWN + "lr: 0.002\nmilestones: [4, 8]\n")))
    assert (cfg.name, cfg.dataset, cfg.layout) == ("mine", "custom", "auto")
    assert (cfg.lr, cfg.milestones, cfg.num_classes) == (0.002, (4, 8), 3)
    assert Path(cfg.data_root) == tmp_path
    base = get_config("sthv1")
    assert (cfg.weight_decay, cfg.twice_sample) == (base.weight_decay, base.twice_sample)
    # nothing that belongs to the data set of the base stays
    assert cfg.flip_label_map is cfg.class_names is cfg.train_prefix is cfg.resolution is None
    assert {"lr", "milestones", "num_classes"} <= set(cfg.explicit)
    assert mini(cfg).lr == 0.002


def test_yaml_paths_are_relative_to_it(own_file, tmp_path):
    (tmp_path / "clips").mkdir()
    cfg = get_config(str(own_file(OWN + "data_root: clips\n")))
    assert Path(cfg.data_root) == tmp_path / "clips"
    absolute = get_config(str(own_file(OWN + f"data_root: {tmp_path.parent}\n")))
    assert Path(absolute.data_root) == tmp_path.parent


def test_yaml_takes_changes_on_top(own_file):
    cfg = get_config(str(own_file(OWN + "lr: 0.002\n")), lr=0.5)
    assert cfg.lr == 0.5


def test_yaml_class_names(own_file, tmp_path):
    listed = get_config(str(own_file(OWN + "class_names: [up, down, still]\n")))
    assert listed.class_names == ("up", "down", "still")
    # a byte order mark, Windows line ends and an empty last line
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfup\r\ndown\r\nkeep still\r\n\r\n")
    read = get_config(str(own_file(OWN + "class_names: classes.txt\n")))
    assert read.class_names == ("up", "down", "keep still")
    with pytest.raises(ConfigError, match="no file others.txt"):
        get_config(str(own_file(OWN + "class_names: others.txt\n")))
    with pytest.raises(ConfigError, match="2 names, num_classes is 3"):
        get_config(str(own_file(OWN + "class_names: [up, down]\n")))


def test_yaml_of_own_data_is_of_no_published_row(own_file):
    cfg = get_config(str(own_file(OWN)))
    assert cfg.published == cfg.row_id == ""


def test_yaml_of_a_test_list_alone(own_file):
    cfg = get_config(str(own_file(OWN.replace("train_list: train.txt\n", ""))))
    assert (cfg.train_list, cfg.val_list, cfg.dataset) == ("", "val.txt", "custom")


@pytest.mark.parametrize("data_root", ["", "data_root: clips\n"])
def test_weights_are_relative_to_the_yaml(own_file, tmp_path, monkeypatch, data_root):
    monkeypatch.chdir(tmp_path.parent)
    own = OWN + data_root
    cfg = get_config(str(own_file(own + "pretrain: start/w.pth\n")))
    assert cfg.pretrain == str(tmp_path / "start/w.pth")
    row = get_config(str(own_file("base: sthv1\npretrain: w.pth\n")))
    assert row.pretrain == str(tmp_path / "w.pth")
    for kept in ("none", "imagenet", "k400", "/w.pth", "https://example.org/w.pth"):
        assert get_config(str(own_file(own + f"pretrain: {kept}\n"))).pretrain == kept
    home = get_config(str(own_file(own + "pretrain: ~/w.pth\n")))
    assert home.pretrain == str(Path("~/w.pth").expanduser())
    # what is set beside the file is relative to the current folder, as ever
    assert get_config(str(own_file(own)), pretrain="w.pth").pretrain == "w.pth"


@pytest.mark.parametrize("line", ["val_list", "num_classes", "base"])
def test_yaml_without_a_needed_line(own_file, line):
    kept = "".join(x for x in OWN.splitlines(keepends=True) if not x.startswith(line))
    with pytest.raises(ConfigError, match=f"mine.yaml needs a line `{line}:"):
        get_config(str(own_file(kept)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: [sthv1\n", "mine.yaml is not valid YAML"),
        ("- sthv1\n", "mine.yaml needs a line `base"),
        ("", "mine.yaml needs a line `base"),
        ("base: sthv7\n", "'sthv7'; closest: .*sthv1"),
        (
            OWN + "lr: 1\nepochs: 2\nlr: 0.1\n",
            "mine.yaml is not valid YAML: the key 'lr' is .* twice",
        ),
        (OWN + "num_classes: 3\n", "the key 'num_classes' is there twice .* line 5"),
        (OWN + "flip_label_map: {0: 1, 1: 0, 0x0: 2}\n", "the key 0 is there twice"),
        (OWN + "class_names: [up, down, up]\n", "mine.yaml: class_names lists 'up' twice"),
        (OWN + f"epochs: {'9' * 5000}\n", "mine.yaml is not valid YAML: Exceeds the limit"),
        (OWN + "lr: 1.0e+300\n", "lr=1e.300 must be at most 1e.36"),
        (OWN + "width: 1.0e+9\n", "width=1000000000.0 must lie between 0.0078125 and 8"),
        (OWN + "depth: [1, 1, 1, 5000]\n", "must hold numbers up to 1000"),
        (OWN.replace("classes: 3", "classes: 2000000000"), "num_classes=2000000000 must be at"),
        (OWN + f"start_index: {2**63}\n", "start_index=9223372036854775808 must be at most"),
        (OWN + "pretrain: ~nobody-of-this-name/w.pth\n", "no home folder of that user"),
        (OWN + "learnig_rate: 1\n", "no configuration field 'learnig_rate'"),
        (OWN + "epochs: many\n", "epochs='many'"),
        (OWN + "1: 2\n", "no configuration field 1"),
        (OWN.replace("train.txt", "3"), "train_list=3 must be text"),
        (OWN + "data_root: 3\n", "data_root=3 must be text"),
        (OWN + "data_root: ~nobody-of-this-name/clips\n", "no home folder of that user"),
        (OWN + f"class_names: {'a' * 5000}\n", "class_names: there is no file aaa"),
        (OWN + f"epochs: {'9' * 400}\n", "epochs=9+ must be at most 2147483647"),
        ("base: [sthv1]\n", r"mine.yaml: base=\['sthv1'\] must be the name of a row, such as"),
        ("base:\n", "mine.yaml: base=None must be the name of a row"),
        ("base: {sthv1: 1}\n", "mine.yaml: base={'sthv1': 1} must be the name of a row"),
        ("base: 5\n", "mine.yaml: base=5 must be the name of a row"),
        (OWN + "when: 2026-13-45\n", "mine.yaml is not valid YAML: month must be in 1..12"),
        (OWN + "lr: " + "[" * 2000 + "\n", "mine.yaml is not valid YAML"),
        (OWN + "lr: &a [*a]\n", "mine.yaml is not valid YAML: its aliases"),
        (OWN + "flip_label_map: {1.5: 0}\n", "flip_label_map={1.5: 0} must be a mapping of"),
        (OWN + "milestones: {4: 8}\n", "milestones={4: 8} must be a list"),
        (OWN + "test_crops: true\n", "test_crops=True is not possible; choose one of 1, 3, 10"),
    ],
)
def test_wrong_yaml(own_file, text, message):
    with pytest.raises(ConfigError, match=message):
        get_config(str(own_file(text)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("[yes, no, still]", 'holds True .*; put the names in quotes: \\["yes", "no", "still"\\]'),
        ("[0, 1, 2]", 'holds 0 .*; put the names in quotes: \\["0", "1", "2"\\]'),
        ("[up, down, 1.5]", 'holds 1.5 .*: \\["up", "down", "1.5"\\]'),
        ("[up, ~, down]", 'holds None .*: \\["up", "null", "down"\\]'),
        ("[up, [down], 2020-01-01]", "holds \\['down'\\]"),
        ("{up: 0, down: 1}", "must be a list of names, or a file with one name per line"),
        ("5", "_names=5 must be a list of names"),
    ],
)
def test_class_names_that_are_no_text(own_file, names, message):
    with pytest.raises(ConfigError, match=f"mine.yaml: class.*{message}"):
        get_config(str(own_file(OWN + f"class_names: {names}\n")))


def test_keys_that_a_merge_brings_may_be_set_anew(own_file):
    text = "flip_label_map: {<<: &map {0: 1, 1: 0}, 0: 2, 2: 0}\n"
    with pytest.raises(ConfigError, match="sends 1 to 0 but not 0 back"):
        get_config(str(own_file(OWN + text)))


def test_class_names_in_quotes(own_file):
    cfg = get_config(str(own_file(OWN + 'class_names: ["yes", "no", "1"]\n')))
    assert cfg.class_names == ("yes", "no", "1")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_yaml_in_another_encoding(tmp_path, encoding):
    text = OWN + "class_names: [séance, pêche, été]\n"
    for name in ("mine.yaml", "classes.txt"):
        (tmp_path / name).write_bytes(text.encode(encoding))
    file = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match="mine.yaml is not UTF-8 text; save it as UTF-8"):
        get_config(str(file))
    file.write_text(OWN + "class_names: classes.txt\n")
    with pytest.raises(ConfigError, match="classes.txt is not UTF-8 text; save it as UTF-8"):
        get_config(str(file))
    file.write_text(text, encoding="utf-8-sig")
    assert get_config(str(file)).class_names == ("séance", "pêche", "été")


@pytest.mark.parametrize(
    "template",
    [
        "frame.jpg", "frame%d.jpg", "img_%05d.jpg", "{i}.jpg", "frame{i:05}.jpg", "{1}.jpg",
        "{}_{}.jpg", "{:05}{:05}.jpg", "{0.real}.jpg", "{!r}.jpg", "{:{}}.jpg", "{:5}.jpg",
        "{:x}.jpg", "{:.2f}.jpg", "{:05,}.jpg", "{{}}.jpg", "{{{}}}.jpg", "{.jpg", "}.jpg", "",
    ],
)  # fmt: skip
def test_frame_names_that_number_nothing(own_file, template):
    with pytest.raises(ConfigError) as error:
        get_config("sthv1", filename_tmpl=template)
    assert f"filename_tmpl={template!r} must hold one placeholder" in str(error.value)
    assert "for example frame{}.jpg or {:05}.jpg" in str(error.value)
    with pytest.raises(ConfigError, match="mine.yaml: filename_tmpl="):
        get_config(str(own_file(OWN + f"filename_tmpl: '{template}'\n")))


@pytest.mark.parametrize("template", ["../{:05}.jpg", "/etc/{}", "rgb/{}.jpg"])
def test_frame_names_of_another_folder(template):
    with pytest.raises(ConfigError, match="must name files in the folder of a video, without /"):
        get_config("sthv1", filename_tmpl=template)


@pytest.mark.parametrize(
    "template", ["{}.jpg", "frame{}.jpeg", "{:05}.jpg", "{:06d}", "i{0:03}.JPG"]
)
def test_frame_names_that_number_frames(template):
    assert get_config("sthv1", filename_tmpl=template).filename_tmpl == template


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "webp"])
def test_frames_of_another_kind(suffix):
    with pytest.raises(ConfigError, match=f"names {suffix.upper()} files, but frames must be JPEG"):
        get_config("sthv1", filename_tmpl=f"img_{{:05}}.{suffix}")


def test_yaml_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no configuration file .*mine.yaml"):
        get_config(str(tmp_path / "mine.yaml"))


def test_yaml_of_a_published_data_set(own_file):
    cfg = get_config(str(own_file("base: sthv1_flip\ndataset: sthv1\n")))
    assert (cfg.dataset, cfg.num_classes) == ("sthv1", 174)


LAUGHS = "".join(f"b{i}: &b{i} [{', '.join(9 * [f'*b{i - 1}'])}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("b0: &b0 [1]\n" + LAUGHS, "its aliases .* stand for more than 100000 values"),
        ("milestones: &a [*a]\n", "its aliases .* stand for more than 100000 values"),
        ("milestones: " + 5000 * "[" + "\n", "it is nested too deeply"),
        ("milestones: " + 900 * "[" + 900 * "]" + "\n", "it is nested too deeply|milestones"),
        ("# " + 2**20 * "x" + "\n", "it has more than 1048576 characters"),
    ],
)
def test_few_lines_that_stand_for_much(own_file, text, reason):
    with pytest.raises(ConfigError, match=reason) as error:
        get_config(str(own_file("base: sthv1\n" + text)))
    assert "mine.yaml" in str(error.value) and len(str(error.value)) < 2000


@pytest.mark.parametrize(
    "line",
    [
        '? !!set ""\n: 3', '? !!map ""\n: 3', 'epochs: !!int ""', "epochs: !!bool x",
        "epochs: !!timestamp x", 'lr: !!float ""',
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_its_tag(own_file, line):
    """PyYAML itself fails on them in several ways."""
    with pytest.raises(ConfigError, match=r"mine.yaml is not valid YAML: .* does not fit the type"):
        get_config(str(own_file(f"base: sthv1\n{line}\n")))


def test_aliases_of_a_few_values_are_read(own_file):
    cfg = get_config(str(own_file("base: sthv1\nepochs: &a 4\nmilestones: [2, *a]\n")))
    assert (cfg.epochs, cfg.milestones) == (4, (2, 4))
