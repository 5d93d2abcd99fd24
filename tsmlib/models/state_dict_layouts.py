"""Convert the keys of state_dicts: from and to those of MMAction2, MIT's repository, torchvision.

This project names parameters as torchvision does. The other layouts add wrappers (`.net` around a
shifted layer, `.block` around one with a non-local block) and name some layers differently. Values
are never permuted. Only 1x1x1 kernels lose their third axis, and a bias in front of a batch norm
moves into the mean of that norm.
"""

import re

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2

from .shift import TemporalShift

State = dict[str, Tensor]

# numbering of the classes in each layout (Something-Something and Jester differ)
LABEL_ORDER = {"mmaction2": "mmaction2", "mit": "mit", "mit_online": "mit", "tsmlib": "mmaction2"}
# their names and ours, of parts that are named otherwise; each is exchanged in either direction
_MMACTION2 = (
    ("non_local_block.g.0.conv.", "non_local.g."),
    ("non_local_block.phi.0.conv.", "non_local.phi."),
    ("non_local_block.theta.conv.", "non_local.theta."),
    ("non_local_block.concat_project.conv.", "non_local.concat."),
    ("non_local_block.conv_out.conv.", "non_local.conv_out."),
    ("non_local_block.conv_out.bn.", "non_local.bn."),
    ("downsample.conv.", "downsample.0."),
    ("downsample.bn.", "downsample.1."),
    *((f"conv{i}.{kind}.", f"{kind}{i}.") for i in (1, 2, 3) for kind in ("conv", "bn")),
)
_MIT = (
    ("nl.g.0.", "non_local.g."),
    ("nl.phi.0.", "non_local.phi."),
    ("nl.theta.", "non_local.theta."),
    ("nl.W.0.", "non_local.conv_out."),
    ("nl.W.1.", "non_local.bn."),
)
RENAMED = {"mmaction2": _MMACTION2, "mit": _MIT, "mit_online": _MIT, "torchvision": ()}
# what their names begin with: those of the backbone, and those of the classifier
PREFIXES = {
    "mmaction2": ("backbone.", "cls_head.fc_cls."),
    "mit": ("module.base_model.", "module.new_fc."),
}


def detect_layout(state: State) -> str:
    """Tell `mmaction2`, `mit`, `mit_online` (the streaming demo) and `torchvision` by the names."""
    names = [str(name).removeprefix("module.") for name in state]
    if any(name.startswith(("backbone.", "cls_head.")) for name in names):
        return "mmaction2"
    if any(name.startswith(("base_model.", "new_fc.")) for name in names):
        return "mit"
    flat = any(re.match(r"features\.1\.conv\.3\.weight", name) for name in names)
    return "mit_online" if flat and "classifier.weight" in names else "torchvision"


def from_layout(state: State, layout: str, model: nn.Module) -> State:
    """Rename a state_dict to the names of `model`; names without a counterpart stay."""
    state = {_from_name(name, layout, model): value for name, value in state.items()}
    if isinstance(model, MobileNetV2) and layout != "torchvision":  # its blocks are numbered anew
        layout = layout.removesuffix("_online")
        ours = {_from_name(theirs, layout, model): name
                for name, theirs in map_names(model, layout).items()}  # fmt: skip
        state = {ours.get(name, name): value for name, value in state.items()}
    return _plain_shapes(state)


def _from_name(name: str, layout: str, model: nn.Module) -> str:
    """Rename all but the blocks of MobileNetV2, and remove wrappers."""
    name = re.sub(r"\.((net|block)\.)+", ".", name.removeprefix("module."))
    if layout == "torchvision":
        return name
    name = re.sub(r"^(backbone|base_model)\.", "", name)
    name = re.sub(r"^(cls_head\.fc_cls|new_fc|classifier)\.(?=weight|bias)", _head(model), name)
    for theirs, ours in () if isinstance(model, MobileNetV2) else RENAMED[layout]:
        name = name.replace(theirs, ours)
    return name


def to_layout(model: nn.Module, layout: str) -> State:
    """Copy the weights of `model` under the names of `mmaction2`, `mit` or `torchvision`.

    Raises:
        ValueError: another layout.
    """
    names, exported = map_names(model, layout), {}
    for name, value in model.state_dict().items():
        value = value.detach().clone()
        if ".non_local." in name and layout != "torchvision":
            if name.endswith("weight") and value.ndim == 4 and ".concat." not in name:
                value = value[..., None]  # 3-D convolutions there
            if layout == "mit" and name.endswith("conv_out.weight"):
                bias = torch.zeros(len(value))  # MIT's have one in front of the batch norm
                exported[names[name].replace("weight", "bias")] = bias
        exported[names[name]] = value
    return exported


def map_names(model: nn.Module, layout: str) -> dict[str, str]:
    """Map the names of a model's weights to those in a layout (see `to_layout`)."""
    if layout not in ("mmaction2", "mit", "torchvision"):
        raise ValueError(f"layout={layout!r} is none of mmaction2, mit, torchvision")
    if layout == "torchvision":
        return {name: name for name in model.state_dict()}
    wrapped = {name: _wrappers(module) for name, module in model.named_modules()}
    return {name: _to_name(name, layout, model, wrapped) for name in model.state_dict()}


def describe_other_shifts(state: State, layout: str, model: nn.Module) -> str:
    """Describe how a checkpoint's shifts differ from the model's, as far as key names show.

    The weights fit both networks (fine-tuning adds shifts, ablations remove them), but the networks
    compute different functions. The description is '' where no difference shows.
    """
    if layout == "mit_online":
        shifts = [m.shift for m in model.modules() if hasattr(m, "shift")]
        both = any(shift.direction == "bidirectional" for shift in shifts)
        return "it only looks back (shift_direction=unidirectional)" if both else ""
    if layout not in ("mmaction2", "mit"):
        return ""
    in_file = {name.removeprefix("module.") for name in state if ".net." in name}
    in_model = {name.removeprefix("module.") for name in map_names(model, layout).values()}
    for names, owner in ((in_file - in_model, "file"), (in_model - in_file, "model")):
        if wrapped := sorted(name for name in names if ".net." in name and "weight" in name):
            return (
                f"only the {owner} shifts or pools the input of {wrapped[0].partition('.net.')[0]}"
            )
    return ""


def _plain_shapes(state: State) -> State:
    """Squeeze 1x1x1 kernels to 1x1; move a bias before a non-local batch norm into its mean."""
    for name, value in state.items():
        if ".non_local." in name and value.ndim == 5:
            state[name] = value.squeeze(2)
    for name in [n for n in state if n.endswith("non_local.conv_out.bias")]:
        mean = name.replace("conv_out.bias", "bn.running_mean")
        if mean in state:
            state[mean] = state[mean] - state.pop(name)
    return state


# --- export ---------------------------------------------------------------------------------------


def _wrappers(module: nn.Module) -> list[str]:
    """List the wrappers that the other layouts put around a layer, from the outside in."""
    pooled = getattr(module, "temporal_pool", False)
    shifted = isinstance(getattr(module, "shift", None), TemporalShift)
    return ["block"] * hasattr(module, "non_local") + ["net"] * (shifted or pooled)


def _with_wrappers(name: str, wrapped: dict[str, list[str]]) -> str:
    """Convert `layer2.0.conv1.weight` to `layer2.0.block.conv1.net.weight`."""
    words, out = name.split("."), []
    for i, word in enumerate(words):
        out.append(word)
        if words[i + 1 : i + 2] != ["non_local"]:
            out += wrapped.get(".".join(words[: i + 1]), [])
    return ".".join(out)


def _head(model: nn.Module) -> str:
    return "classifier.1." if isinstance(model, MobileNetV2) else "fc."


def _to_name(name: str, layout: str, model: nn.Module, wrapped: dict[str, list[str]]) -> str:
    backbone, classifier = PREFIXES[layout]
    if name.startswith(_head(model)):
        return name.replace(_head(model), classifier)
    if isinstance(model, MobileNetV2):
        convert = _to_mmaction2_block if layout == "mmaction2" else _to_flat_block
        return backbone + convert(name, model, wrapped)
    name = _with_wrappers(name, wrapped)
    for theirs, ours in RENAMED[layout]:
        name = name.replace(ours, theirs)
    return backbone + name


def _to_flat_block(name: str, model: MobileNetV2, wrapped: dict[str, list[str]]) -> str:
    """Convert torchvision's `conv.1.0` to MIT's `conv.3`; MIT counts norms and ReLUs as well.

    A block with an expansion has 8 parts (0 1 3 4 6 7 with weights), one without has 5.
    """
    m = re.match(r"(features\.\d+\.conv)\.(\d+)(?:\.(\d))?\.(\w+)$", name)
    if not m:
        return name
    last = len(model.get_submodule(m[1])) - 2  # of the projection: 2, or 1 without expansion
    k = int(m[2])
    flat = 3 * k + int(m[3]) if m[3] else 3 * last + k - last
    net = ".net" if m[3] == "0" and wrapped[f"{m[1]}.{k}.0"] else ""
    return f"{m[1]}.{flat}{net}.{m[4]}"


def _to_mmaction2_block(name: str, model: MobileNetV2, wrapped: dict[str, list[str]]) -> str:
    """Convert `features.5.conv.1.0.weight` to MMAction2's `layer3.1.conv.1.conv.weight`."""
    layers = [(layer, i) for layer, n in enumerate(model.depth, 1) for i in range(n)]
    number, rest = re.match(r"features\.(\d+)\.(.*)", name).groups()
    if int(number) in (0, len(layers) + 1):
        part, rest = rest.split(".", 1)
        return f"conv{1 if number == '0' else 2}.{('conv', 'bn')[int(part)]}.{rest}"
    layer, i = layers[int(number) - 1]
    k, part, rest = re.match(r"conv\.(\d+)(?:\.(\d))?\.(\w+)$", rest).groups()
    if part is None:  # the projection and its norm are two parts there
        last = len(model.features[int(number)].conv) - 2
        k, part = last, int(k) - last
    net = ".net" if wrapped.get(f"features.{number}.conv.{k}.0") else ""
    return f"layer{layer}.{i}.conv.{k}{net}.{('conv', 'bn')[int(part)]}.{rest}"
