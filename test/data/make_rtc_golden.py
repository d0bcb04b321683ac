# SPDX-License-Identifier: Apache-2.0
"""Write rtc_golden.npz: what LeRobot's own code makes of random flows and prefixes.

Usage: `python make_rtc_golden.py LEROBOT_CHECKOUT OUT.npz`, with PyTorch and NumPy. Only the files
named below are imported from the checkout, so none of LeRobot's other dependencies are needed.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

SCHEDULES = ("ZEROS", "ONES", "LINEAR", "EXP")
ROWS, COLUMNS, WIDTH, STEPS = 16, 6, 8, 10
# Rows of the prefix, delay, horizon: usual; no delay; beyond the horizon; a short prefix; all.
CASES = ((12, 3, 10), (16, 0, 10), (14, 12, 8), (4, 3, 10), (16, 5, 16))
TIMES = (1.0, 0.9, 0.5, 0.1)


def load(root: Path, name: str, file: str):
    spec = importlib.util.spec_from_file_location(name, root / "src" / "lerobot" / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def lerobot(root: Path):
    for package in ("lerobot", "lerobot.policies", "lerobot.policies.rtc"):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = []
    configs = load(root, "lerobot.configs", "configs/types.py")
    for name in ("configuration_rtc", "debug_tracker", "modeling_rtc"):
        load(root, f"lerobot.policies.rtc.{name}", f"policies/rtc/{name}.py")
    flow = load(root, "lerobot.policies.flow_matching", "policies/common/flow_matching.py")
    rtc = sys.modules["lerobot.policies.rtc.modeling_rtc"]
    config = sys.modules["lerobot.policies.rtc.configuration_rtc"]
    return configs.RTCAttentionSchedule, config.RTCConfig, rtc.RTCProcessor, flow.euler_integrate


def main(root: Path, out: Path) -> None:
    schedules, config, processor, integrate = lerobot(root)
    rng = np.random.default_rng(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    noise, velocity, previous = (random(1, ROWS, WIDTH) for _ in range(3))
    previous = previous[:, :, :COLUMNS]
    matrix, bias = 0.5 * random(WIDTH, WIDTH), random(WIDTH)
    saved = {
        "noise": noise,
        "velocity": velocity,
        "previous": previous[0],
        "matrix": matrix,
        "bias": bias,
    }

    def field(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        time = time[..., None] if time.ndim == 2 else time[:, None, None]
        return torch.tanh(x @ matrix + time * bias)

    for name in SCHEDULES:
        for case, (rows, delay, horizon) in enumerate(CASES):
            guide = processor(config(prefix_attention_schedule=schedules[name]))
            known = previous[:, :rows]
            saved[f"step_{name.lower()}_{case}"] = torch.cat(
                [
                    guide.denoise_step(noise, known, delay, time, lambda x: velocity, horizon)
                    for time in TIMES
                ]
            )
            saved[f"flow_{name.lower()}_{case}"] = integrate(
                field,
                noise,
                STEPS,
                rtc_processor=guide,
                rtc_enabled=True,
                inference_delay=delay,
                prev_chunk_left_over=known,
                execution_horizon=horizon,
            )
    saved["free"] = integrate(field, noise, STEPS)
    for delay in (1, 3, 6):
        mask = (torch.arange(ROWS) < delay)[None, :, None].expand(1, ROWS, WIDTH)
        prefix = torch.zeros(1, ROWS, WIDTH)
        prefix[:, :delay, :COLUMNS] = previous[:, :delay]
        saved[f"trained_{delay}"] = integrate(
            field, noise, STEPS, hard_prefix=prefix, hard_prefix_mask=mask
        )
    np.savez_compressed(out, **{key: value.numpy() for key, value in saved.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
