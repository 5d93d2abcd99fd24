"""Real video where there is some: a short training from real weights, and every original clip."""

import yaml
from real_check import check_clips, write_yaml

from tsmlib.configs import get_config
from tsmlib.engine.train import train


def test_two_epochs_on_sixteen_real_clips(shared, tmp_path):
    config = write_yaml(tmp_path, shared, "actions8", epochs=2)
    fields = yaml.safe_load(config.read_text())
    for split, count in (("train", 16), ("val", 8)):
        lines = (shared / "data" / "overhead_actions" / f"{split}.txt").read_text().splitlines()
        some = lines[:: len(lines) // count][:count]
        (tmp_path / f"{split}.txt").write_text("\n".join(some) + "\n")
        fields[f"{split}_list"] = str(tmp_path / f"{split}.txt")
    config.write_text(yaml.safe_dump(fields))
    record = train(get_config(config), work_dir=tmp_path / "run", workers=1)
    assert (record["data"], record["scale"], record["cfg"]) == ("real", "full", "actions8")
    assert record["num_videos"] == 8 and record["num_training_videos"] == 16
    assert record["pretrained"]["source"].endswith("mobilenet_v2_features.pth")
    assert record["class_names"][0] == "falled"


def test_every_original_clip_is_sampled_decoded_and_classified(shared, capsys):
    assert check_clips(shared) == 9
    assert "mmaction2_demo.mp4: 280 frames, 340x256" in capsys.readouterr().out
