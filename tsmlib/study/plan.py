"""Read the plan, results/plan.yaml: the runs, what is expected of them, how they are judged."""

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ..configs import Config, ConfigError, get_config, mini, replace, standin_config
from ..detection.recipes import RECIPES, DetectorConfig, get_recipe
from ..paths import published_file

Expected = Literal["more", "less", "same"]
SIGNS = {"more": 1, "less": -1, "same": 0}  # of an expected difference
Task = Literal["order3", "actions8", "pushups2", "pushups4"]


@dataclass(frozen=True)
class Folds:
    """A task on annotated clips of real videos (annotated_videos.py).

    `order3` and `actions8` are actions, with one recording left out at a time; `pushups2` and
    `pushups4` phases of push-ups of people who are in training or in test.
    """

    task: Task
    resolution: str  # of the stored frames
    group: str | None = None  # pattern at the start of a recording's name: the person or place
    tuning: bool = False  # train and test on groups of the training list, none that is reported

    def group_of(self, recording: str) -> str:
        """Name the group of a recording, which intervals are over: itself without a pattern."""
        found = self.group and re.match(self.group, recording)
        return found[0] if found else recording


@dataclass(frozen=True)
class Digits:
    """Clips of handwritten digits in motion (moving_digits.py)."""

    clips: tuple[int, int]  # training, test
    stills: tuple[int, int] = (4000, 1000)
    seed: int | None = 0  # of the drawing; None: that of the run, which has clips of its own
    contrast: float = 0.4  # of the digit to the mean of its background, 0 to 1
    noise: float = 0.06  # deviation, drawn anew for each frame
    still_epochs: int = 20  # of the network that is trained on stills
    still_lr: float = 0.001  # of that network, whatever the rate of the clips is

    def __post_init__(self):
        for name in ("clips", "stills"):  # lists in YAML
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class Videos:
    """The real videos of a study, with the hash of their contents (`videos_id`)."""

    name: str
    id: str
    source: str


@dataclass(frozen=True)
class Arm:
    """One value of a study's axis: a configuration that is trained, or tests another arm."""

    name: str
    cfg: Config | DetectorConfig  # of the run, before it is reduced to mini scale
    test_of: str | None = None  # arm whose weights are tested, instead of a training
    half: str | None = None  # of an arm that is trained twice as long: the arm that it doubles
    protocol: str | None = None  # of the test; None: as in training
    folds: Folds | None = None  # of real videos: the run is repeated over them
    digits: Digits | None = None  # digits in motion instead of the data set's stand-in

    @property
    def detects(self) -> bool:
        """Tell whether it is a detector of objects, on the stand-in of ImageNet VID."""
        return isinstance(self.cfg, DetectorConfig)


@dataclass(frozen=True)
class Question:
    """A comparison that was planned: `of` minus `over`, or the slope of such differences."""

    name: str
    expected: Expected
    of: str | None = None  # arm
    over: str | float | None = None  # arm, or an accuracy that chance gives
    slope: tuple[tuple[str, str], ...] = ()  # pairs of arms, of and over ...
    at: tuple[float, ...] = ()  # ... and the values at which they stand
    measure: str = "top1"  # a field of the records, in percent
    measure_alone: bool = False  # gates of its arms are in this measure alone, not in top-1 too
    claim: str | None = None  # number of the paper's claim
    published: dict[str, Any] | None = None  # the published difference, and its source
    by_construction: bool = False  # the stand-in is built so that the claim holds
    control: bool = False  # a known effect; unless it shows, others are `stand-in insensitive`

    @property
    def arms(self) -> set[str]:
        """Name all arms that the question compares."""
        pairs = self.slope or ((self.of, self.over),)
        return {arm for pair in pairs for arm in pair if isinstance(arm, str)}


@dataclass(frozen=True)
class Study:
    """A named study: arms, seeds, and questions about them."""

    name: str
    asks: str
    arms: dict[str, Arm]
    questions: tuple[Question, ...]
    seeds: tuple[int, ...]
    exploratory: bool  # too few seeds for a verdict on a direction
    margin: float  # of equivalence, points
    axis: str | None = None  # field whose values are the horizontal axis of the chart
    videos: Videos | None = None  # real videos instead of stand-ins
    doubled_seeds: int = 0  # of the arms that are trained twice as long; 0: there are none

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """List the seeds of an arm: of one that is trained twice as long, the first few."""
        return self.seeds[: self.doubled_seeds] if self.arms[arm].half else self.seeds


@cache
def read_plan(file: Path | None = None) -> dict[str, Study]:
    """Read all studies by their names.

    Raises:
        ConfigError: the plan holds an unknown name; the message says which.
    """
    plan = yaml.safe_load((file or published_file("plan.yaml")).read_text())
    return {name: _study(name, fields, plan) for name, fields in plan["studies"].items()}


def _study(name: str, fields: dict[str, Any], plan: dict[str, Any]) -> Study:
    known = {"asks", "exploratory", "seeds", "axis", "videos", "base", "arms", "questions",
             "doubled_seeds", "margin"}  # fmt: skip
    if unknown := set(fields) - known:
        raise ConfigError(f"plan.yaml, study {name}: {', '.join(sorted(unknown))} is unknown")
    exploratory = fields.get("exploratory", False)
    kind = "exploratory" if exploratory else "confirmatory"
    videos = fields.get("videos")
    videos = Videos(videos, **plan["videos"][videos]) if videos else None
    base = fields.get("base", {})
    if not (videos or base.get("cfg") in RECIPES):
        base = {**plan["base"], **base}
    arms = {arm: _arm(arm, own or {}, base) for arm, own in fields["arms"].items()}
    doubled_seeds = fields.get("doubled_seeds", 0)
    if doubled_seeds:
        arms |= {f"{arm.name}, twice as long": _doubled(arm) for arm in arms.values()}
    questions = tuple(Question(**asked) for asked in fields.get("questions", ()))
    for asked in questions:
        if missing := asked.arms - set(arms):
            raise ConfigError(f"plan.yaml, study {name}: there is no arm {missing.pop()!r}")
    seeds = tuple(fields.get("seeds", plan["seeds"][kind]))
    margin, axis = fields.get("margin", plan["margin"]), fields.get("axis")
    return Study(
        name, fields["asks"], arms, questions, seeds, exploratory, margin, axis, videos,
        doubled_seeds,
    )  # fmt: skip


def _arm(name: str, own: dict[str, Any], base: dict[str, Any]) -> Arm:
    changes = {**base, **own}
    roles = {k: changes.pop(k) for k in ("test_of", "protocol", "folds", "digits") if k in changes}
    for role, kind in (("folds", Folds), ("digits", Digits)):
        if role in roles:
            roles[role] = kind(**roles[role])
    row = changes.pop("cfg")
    return Arm(name, (get_recipe if row in RECIPES else get_config)(row, **changes), **roles)


def _doubled(arm: Arm) -> Arm:
    """Return an arm that is trained, or tests one that is trained, for twice as many epochs."""
    epochs = 2 * arm.cfg.epochs
    return dataclasses.replace(
        arm,
        name=f"{arm.name}, twice as long",
        cfg=replace(arm.cfg, epochs=epochs, eval_interval=epochs),
        test_of=arm.test_of and f"{arm.test_of}, twice as long",
        half=arm.name,
    )


def get_study(name: str) -> Study:
    """Find a study by its name.

    Raises:
        ConfigError: there is none; all names are listed.
    """
    plan = read_plan()
    if name not in plan:
        raise ConfigError(f"there is no study {name!r}; choose one of {', '.join(plan)}")
    return plan[name]


def backbone_arms() -> dict[str, Config]:
    """Return the configurations of the study `backbone` as they run, for `speed.benchmarks`."""
    arms = get_study("backbone").arms.values()
    return {arm.name: mini(standin_config(arm.cfg)) for arm in arms}
