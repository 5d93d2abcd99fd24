"""Read the plan, results/plan.yaml: the runs, what is expected of them, how they are judged."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ..configs import Config, ConfigError, get_config, mini, standin_config
from ..paths import published_file

Expected = Literal["more", "less", "same"]
Task = Literal["arrow", "order3", "actions8"]


@dataclass(frozen=True)
class Folds:
    """A task on real videos, and how their recordings are dealt into folds.

    `arrow` is forward against reversed windows, `order3` and `actions8` are annotated actions with
    one recording left out at a time (arrow_of_time.py).
    """

    task: Task
    resolution: str  # of the stored frames
    folds: int | None = None  # of the arrow of time; elsewhere one per recording
    window: int | None = None  # frames, of the arrow of time; None: three per segment
    min_motion: float = 0.5  # grey levels; windows with less are left out

    @property
    def name(self) -> str:
        """Name the configuration and the folder of the records."""
        return self.task if self.task == "arrow" else f"loro_{self.task}"


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
    cfg: Config  # of the run, before it is reduced to mini scale
    test_of: str | None = None  # arm whose weights are tested, instead of a training
    protocol: str | None = None  # of the test; None: as in training
    folds: Folds | None = None  # of real videos: the run is repeated over them


@dataclass(frozen=True)
class Question:
    """A comparison that was planned: `of` minus `over`, or the slope of such differences."""

    name: str
    expected: Expected
    of: str | None = None  # arm
    over: str | float | None = None  # arm, or an accuracy that chance gives
    slope: tuple[tuple[str, str], ...] = ()  # pairs of arms, of and over ...
    at: tuple[float, ...] = ()  # ... and the values at which they stand
    measure: Literal["top1", "within_pair"] = "top1"  # in percent
    claim: str | None = None  # number of the paper's claim
    published: dict[str, Any] | None = None  # the published difference, and its source
    by_construction: bool = False  # the stand-in is built so that the claim holds

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


@cache
def read_plan(file: Path | None = None) -> dict[str, Study]:
    """Read all studies by their names.

    Raises:
        ConfigError: the plan holds an unknown name; the message says which, and its study.
    """
    plan = yaml.safe_load((file or published_file("plan.yaml")).read_text())
    return {name: _study(name, fields, plan) for name, fields in plan["studies"].items()}


def _study(name: str, fields: dict[str, Any], plan: dict[str, Any]) -> Study:
    known = {"asks", "exploratory", "seeds", "axis", "videos", "base", "arms", "questions"}
    if unknown := set(fields) - known:
        raise ConfigError(f"plan.yaml, study {name}: {', '.join(sorted(unknown))} is unknown")
    exploratory = fields.get("exploratory", False)
    kind = "exploratory" if exploratory else "confirmatory"
    videos = fields.get("videos")
    videos = Videos(videos, **plan["videos"][videos]) if videos else None
    base = {**({} if videos else plan["base"]), **fields.get("base", {})}
    arms = {arm: _arm(arm, own or {}, base) for arm, own in fields["arms"].items()}
    questions = tuple(Question(**asked) for asked in fields.get("questions", ()))
    for asked in questions:
        if missing := asked.arms - set(arms):
            raise ConfigError(f"plan.yaml, study {name}: there is no arm {missing.pop()!r}")
    seeds = tuple(fields.get("seeds", plan["seeds"][kind]))
    margin, axis = plan["margin"], fields.get("axis")
    return Study(name, fields["asks"], arms, questions, seeds, exploratory, margin, axis, videos)


def _arm(name: str, own: dict[str, Any], base: dict[str, Any]) -> Arm:
    changes = {**base, **own}
    roles = {k: changes.pop(k) for k in ("test_of", "protocol", "folds") if k in changes}
    if "folds" in roles:
        roles["folds"] = Folds(**roles["folds"])
    return Arm(name, get_config(changes.pop("cfg"), **changes), **roles)


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
