"""Deterministic weights and inputs for the parity goldens.

Self-contained (numpy; torch only in the two helpers that return tensors).  Nothing
here depends on a peer.  Every tensor is a pure function of (key, shape), so a
golden file needs to hold only the peer's key/shape table and the outputs.

The generator is numpy's *legacy* RandomState(seed).random_sample, whose stream
numpy froze for good (NEP 19); only multiplications, additions and one rounding
float64 -> float32 follow, so every machine gets the same bits.  `state_sha256`
proves it: each model golden records the value.

Recipe, u ~ U[0,1) drawn from RandomState(crc32(key)), C order:
  *.num_batches_tracked            1000 (int64)
  *.running_var                    0.5 + u
  *.running_mean                   0.4 u - 0.2
  *.bias                           0.4 u - 0.2
  *.weight, 1-D (a norm's)         0.5 + u
  *.weight, n-D (conv, linear)     (2u - 1) * sqrt(6 / prod(shape[1:]))   (variance 2/fan_in)
then times the factor of the first regular expression in `factors` that
`re.search`es in the key (default 1).
"""

import hashlib
import re
import zlib

import numpy as np


def _u(key, n):
    return np.random.RandomState(zlib.crc32(key.encode("utf-8")) & 0xFFFFFFFF).random_sample(n)


def fill_array(key, shape, factors=()):
    """The float32 (or int64) array for one state_dict entry."""
    shape = tuple(int(s) for s in shape)
    leaf = key.rsplit(".", 1)[-1]
    n = int(np.prod(shape)) if shape else 1
    if leaf == "num_batches_tracked":
        return np.full(shape, 1000, dtype=np.int64)
    u = _u(key, n)
    if leaf == "running_var":
        v = 0.5 + u
    elif leaf in ("running_mean", "bias"):
        v = 0.4 * u - 0.2
    elif leaf == "weight" and len(shape) == 1:
        v = 0.5 + u
    elif leaf == "weight":
        v = (2.0 * u - 1.0) * np.sqrt(6.0 / float(np.prod(shape[1:])))
    else:
        raise KeyError(f"no recipe for {key} {shape}")
    for pattern, f in factors:
        if re.search(pattern, key):
            v = v * float(f)
            break
    return v.astype(np.float32).reshape(shape)


def fill_state_dict(keys, factors=()):
    """keys: {name: [shape, dtype]} (as in *.keys.json) -> {name: torch.Tensor}."""
    import torch

    return {
        k: torch.from_numpy(np.ascontiguousarray(fill_array(k, s, factors)).copy())
        for k, (s, _) in keys.items()
    }


def make_clip(name, n, t, size):
    """A float32 array (n, t, 3, size, size), about N(0, 1)-sized like normalised frames.

    Each frame has its own brightness, contrast and 14x14 block pattern, plus pixel
    noise, so that the order of the frames matters to the output."""
    assert size % 14 == 0
    g = np.random.RandomState(zlib.crc32(("clip:" + name).encode()) & 0xFFFFFFFF)
    off = g.random_sample((n, t, 3, 1, 1)) * 3.0 - 1.5
    amp = g.random_sample((n, t, 1, 1, 1)) * 1.2 + 0.2
    block = g.random_sample((n, t, 3, 14, 14)) * 2.0 - 1.0
    block = np.repeat(np.repeat(block, size // 14, -2), size // 14, -1)
    noise = g.random_sample((n, t, 3, size, size)) * 2.0 - 1.0
    return (off + amp * (block + 0.5 * noise)).astype(np.float32)


def rand_array(name, shape, lo=-1.0, hi=1.0):
    """A float32 array, U[lo, hi)."""
    return (
        (lo + (hi - lo) * _u("rand:" + name, int(np.prod(shape)))).astype(np.float32).reshape(shape)
    )


def array_sha256(a):
    a = np.ascontiguousarray(a)
    h = hashlib.sha256(str((a.dtype.str, a.shape)).encode())
    h.update(a.tobytes())
    return h.hexdigest()


def state_sha256(sd):
    """Of {name: torch.Tensor}, independent of order."""
    h = hashlib.sha256()
    for k in sorted(sd):
        h.update(k.encode())
        h.update(array_sha256(sd[k].detach().cpu().numpy()).encode())
    return h.hexdigest()
