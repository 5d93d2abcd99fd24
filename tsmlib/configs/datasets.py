"""The registry of data sets: one record each, read wherever a data set matters.

A new data set is one entry of `DATASETS`, a file of its class names in labels/, and, where its
annotation files have a form of their own, a reader in tsmlib/data/prepare.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Official:
    """The annotation files of a data set, as its site publishes them."""

    site: str
    form: str  # key of the reader (data/prepare) and of the stand-in's writer (data/standin)
    train: str  # file name; `<class>` stands for each class's name
    val: str
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # other names of a file

    def find(self, folder: Path, name: str) -> Path:
        """Return the path of an annotation file, under whichever of its names it is there."""
        paths = [folder / known for known in (name, *self.also.get(name, ()))]
        return next((path for path in paths if path.is_file()), paths[0])


@dataclass(frozen=True)
class Standin:
    """The generated clips of a data set: how many there are, and which classes they show.

    Classes are named after real ones. Each pair is (scene, class, class of the same clips played
    backwards). Each single is a class without a reversal, in a place of its own.
    """

    family: str  # temporal: order alone tells the classes apart; scene: appearance decides most
    renderings: tuple[int, int]  # in training and validation; a pair makes two clips of each
    pairs: tuple[tuple[str, str, str], ...]
    singles: tuple[str, ...] = ()
    clip_path: str = "{serial}"  # below the folder of media, without suffix

    @property
    def turns(self) -> int:
        """Count the pairs and singles, which the renderings go through in turn."""
        return len(self.pairs) + len(self.singles)

    def get_turn(self, turn: int) -> tuple[str, tuple[str, ...]]:
        """Return the scene of a turn, and its classes: forward and backward, or one."""
        if turn < len(self.pairs):
            scene, *names = self.pairs[turn]
            return scene, tuple(names)
        place = turn - len(self.pairs)
        return f"place {place}", (self.singles[place],)

    def format_path(self, name: str, number: int) -> str:
        """Return the path of clip `number`, which shows class `name`."""
        return self.clip_path.format(
            name=name, folder=name.replace(" ", "_"), number=number, serial=100_001 + number,
            group=number // 100, take=number % 100,
        )  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """A data set: its classes, its files under the data root, and how it is tested."""

    name: str
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()  # in label order; (): the lines of labels/<name>.txt
    folder: str = ""  # below the data root
    list_name: str = "{folder}_{split}_list_{layout}.txt"  # as MMAction2's tools write them
    media_folder: str = "{layout}"  # of the files that a list names
    as_frames: bool = False  # published as frames, not as video files
    official: Official | None = None
    flip_label_map: Mapping[int, int] | None = None  # classes that a mirrored clip exchanges
    two_protocols: bool = False  # tested as `efficient` and as `accurate` (TSM, section 5.1)
    renumbered: bool = False  # MIT's weights number its sorted class names
    validation_videos: int | None = None  # in the published validation list
    clip_seconds: float | None = None  # that its clips usually last, if that is published
    published_size: int = 224  # of the input, in pixels, that the published operations are for
    standin: Standin | None = None

    def annotations_folder(self, data_root: Path) -> Path:
        """Return the folder of the official annotation files."""
        return data_root / self.folder / "annotations"

    def list_fields(self, layout: str = "rawframes") -> dict[str, Any]:
        """Return the fields of a configuration that name this data set's classes and lists."""
        fields: dict[str, Any] = {"dataset": self.name, "num_classes": self.num_classes}
        for split in SPLITS:
            words = {"folder": self.folder, "split": split, "layout": layout}
            fields[f"{split}_list"] = f"{self.folder}/{self.list_name.format(**words)}"
            fields[f"{split}_prefix"] = f"{self.folder}/{self.media_folder.format(**words)}"
        return fields


_SOMETHING_PAIRS = (
    ("pushed right",
     "Pushing something from left to right", "Pulling something from right to left"),
    ("pushed left",
     "Pushing something from right to left", "Pulling something from left to right"),
    ("up", "Moving something up", "Moving something down"),
    ("closer",
     "Moving something towards the camera", "Moving something away from the camera"),
    ("camera left", "Turning the camera left while filming something",
     "Turning the camera right while filming something"),
)  # fmt: skip

# validation_videos: of Kinetics as MMAction2 tools/data/kinetics/README.md and the published page's
# note 6 say; of the others sizes of the official lists as usually quoted, not counted in the files.
# clip_seconds: Kay et al. 2017 (Kinetics), Goyal et al. 2017 (Something-Something, 4.03 on
# average), Materzynska et al. 2019 (Jester), Soomro et al. 2012 (UCF101, 7.21 on average)
DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "k400", 400, folder="kinetics400", media_folder="{layout}_{split}",
            validation_videos=19_796, clip_seconds=10.0,
            official=Official("Google DeepMind's Kinetics page", "kinetics",
                              "kinetics_train.csv", "kinetics_val.csv",
                              {"kinetics_train.csv": ("train.csv",),
                               "kinetics_val.csv": ("validate.csv", "val.csv")}),
            standin=Standin("scene", (440, 160), (
                ("covered", "wrapping present", "unboxing"),
                ("lowered", "abseiling", "rock climbing"),
            ), (
                "surfing water", "skiing (not slalom or crosscountry)", "playing tennis",
                "riding camel", "ice skating", "swimming breast stroke",
            ), clip_path="{folder}/standin{number:06d}_000000_000010"),
        ),
        Dataset(
            "sthv1", 174, folder="sthv1", as_frames=True, two_protocols=True, renumbered=True,
            validation_videos=11_522, clip_seconds=4.0,
            flip_label_map={2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52},  # camera, push, pull
            official=Official("Qualcomm's Something-Something page", "lines of labels",
                              "something-something-v1-train.csv",
                              "something-something-v1-validation.csv"),
            standin=Standin("temporal", (440, 200), _SOMETHING_PAIRS),
        ),
        Dataset(
            "sthv2", 174, folder="sthv2", two_protocols=True, renumbered=True,
            validation_videos=24_777, clip_seconds=4.0,
            official=Official("Qualcomm's Something-Something page", "templates",
                              "something-something-v2-train.json",
                              "something-something-v2-validation.json",
                              {f"something-something-v2-{part}.json": (f"{part}.json",)
                               for part in ("train", "validation")}),
            standin=Standin("temporal", (300, 100), _SOMETHING_PAIRS),
        ),
        Dataset(
            "jester", 27, folder="jester", as_frames=True, two_protocols=True, renumbered=True,
            validation_videos=14_787, published_size=256, clip_seconds=3.0,
            flip_label_map={0: 1, 1: 0, 6: 7, 7: 6},  # swiping, sliding two fingers
            official=Official("Qualcomm's Jester page", "lines of labels",
                              "jester-v1-train.csv", "jester-v1-validation.csv"),
            standin=Standin("temporal", (300, 100), (
                ("right", "Swiping Right", "Swiping Left"),
                ("up", "Swiping Up", "Swiping Down"),
                ("closer", "Pushing Hand Away", "Pulling Hand In"),
                ("fingers right", "Sliding Two Fingers Right", "Sliding Two Fingers Left"),
                ("fingers up", "Sliding Two Fingers Up", "Sliding Two Fingers Down"),
            )),
        ),
        Dataset(
            "diving48", 48, folder="diving48", validation_videos=1_970,  # V2
            official=Official("the SVCL page of Diving48 (V2)", "diving48",
                              "Diving48_V2_train.json", "Diving48_V2_test.json"),
            # its rows flip without a label map, so nothing here goes left or right
            standin=Standin("temporal", (440, 100), (
                ("up", "Back+15som+NoTwis+PIKE", "Forward+15som+NoTwis+PIKE"),
                ("closer", "Back+25som+NoTwis+TUCK", "Forward+25som+NoTwis+TUCK"),
                ("camera up", "Inward+Dive+NoTwis+PIKE", "Reverse+Dive+NoTwis+PIKE"),
                ("apart", "Inward+25som+NoTwis+PIKE", "Reverse+25som+NoTwis+PIKE"),
            ), clip_path="standin{number:06d}_00001"),
        ),
        Dataset(
            "hmdb51", 51, folder="hmdb51", list_name="{folder}_{split}_split_1_{layout}.txt",
            validation_videos=1_530,  # split 1
            official=Official("the Serre Lab page of HMDB51", "hmdb51",
                              "<class>_test_split1.txt", "<class>_test_split1.txt"),
            standin=Standin("scene", (320, 100), (
                ("covered", "catch", "throw"), ("lowered", "sit", "stand"),
            ), ("dive", "fencing", "golf", "ride_horse", "somersault", "ride_bike"),
                clip_path="{name}/standin_{name}_{number:06d}"),
        ),
        Dataset(
            "ucf101", 101, folder="ucf101", list_name="{folder}_{split}_split_1_{layout}.txt",
            validation_videos=3_783,  # split 1
            clip_seconds=7.2,
            official=Official("the CRCV page of UCF101", "ucf101",
                              "trainlist01.txt", "testlist01.txt"),
            standin=Standin("scene", (320, 100), (
                ("covered", "WallPushups", "PullUps"),
                ("lowered", "BodyWeightSquats", "CleanAndJerk"),
            ), ("Surfing", "Skiing", "TennisSwing", "HorseRiding", "IceDancing", "BreastStroke"),
                clip_path="{name}/v_{name}_g{group:03d}_c{take:02d}"),
        ),
        Dataset("custom"),  # a user's own lists
    )
}  # fmt: skip


def published_names(dataset: str) -> tuple[str, ...]:
    """Return the class names of a data set in its published order, () if it has none."""
    record = DATASETS[dataset]
    file = files(__package__) / "labels" / f"{dataset}.txt"
    if record.class_names or not file.is_file():
        return record.class_names
    return tuple(file.read_text(encoding="utf-8").splitlines())
