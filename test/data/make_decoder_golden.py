# SPDX-License-Identifier: Apache-2.0
"""Write decoder_golden.npz: what the families' own samplers make of random networks.

Usage: `python make_decoder_golden.py SOURCES OUT.npz`, with PyTorch, SciPy, NumPy and
diffusers 0.42.1. SOURCES has checkouts of

- `CQL` (aviralkumar2907/CQL at d67dbe9): `TanhGaussianPolicy` of `d4rl/rlkit/torch/sac`
- `openvla` (openvla/openvla at c8f03f4): `ActionTokenizer` of `prismatic/vla`
- `visual_foresight` (SudeepDasari/visual_foresight at 4c79886): `GaussianCEMSampler`
- `pddm` (google-research/pddm at 06b88cd): `MPPI`

whose own code runs; modules it imports but does not need here are stubs. Typed again from what
does not run without JAX, TensorFlow or a robot:

- Octo's `DiffusionActionHead.predict_action` (octo-models/octo at 241fb35)
- RT-1's `RT1ActionTokenizer.detokenize` (google-research/robotics_transformer at 4569641)
- QT-Opt's `cem_optimal_action` (quantumiracle/QT_Opt at c66ca63)
- the loop of visual foresight's `perform_CEM`
- FAST's decoding (`UniversalActionProcessor.decode`): SciPy's inverse DCT
"""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.fft
import torch
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm

ROWS, COLUMNS, TRAIN = 16, 6, 100
# Name: scheduler, steps and what differs from diffusers' defaults.
DIFFUSIONS = {
    "ddim_10": ("ddim", 10, {"beta_schedule": "squaredcos_cap_v2"}),
    "ddim_16_not_to_one": (
        "ddim",
        16,
        {"beta_schedule": "squaredcos_cap_v2", "set_alpha_to_one": False},
    ),
    "ddim_16_free": ("ddim", 16, {"beta_schedule": "linear", "clip_sample": False}),
    "ddim_10_sample": (
        "ddim",
        10,
        {"beta_schedule": "scaled_linear", "prediction_type": "sample", "clip_sample_range": 0.5},
    ),
    "ddim_10_v": (
        "ddim",
        10,
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    ),
    "ddim_10_eta": ("ddim", 10, {"beta_schedule": "squaredcos_cap_v2"}),
    "ddpm_100": ("ddpm", 100, {"beta_schedule": "squaredcos_cap_v2"}),
    "ddpm_100_large": (
        "ddpm",
        100,
        {"beta_schedule": "linear", "variance_type": "fixed_large", "clip_sample": False},
    ),
    "ddpm_20_v": (
        "ddpm",
        20,
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    ),
    "ddpm_10_sample": (
        "ddpm",
        10,
        {"beta_schedule": "scaled_linear", "prediction_type": "sample", "clip_sample_range": 2.0},
    ),
}
OCTO_STEPS, OCTO_WINDOW, OCTO_HORIZON, OCTO_DIM = 20, 2, 4, 7
OCTO_ACTIVE = (7, 5)
LAYERS, HEADS, SIZE, VOCABULARY, PROMPT, TOKENS = 2, 2, 8, 48, 5, 7
HELD, REPEAT, ARM, CANDIDATES, ELITES, ITERATIONS = 5, 3, 4, 100, 10, 3


class Stub(types.ModuleType):
    """A module that has whatever is imported from it."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load(name: str, file: Path, *stubs: str):
    for stub in stubs:
        sys.modules[stub] = Stub(stub)
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def normal(rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def diffusion(rng, saved) -> None:
    noise, added = normal(rng, 1, ROWS, COLUMNS), normal(rng, TRAIN, 1, ROWS, COLUMNS)
    matrix, bias = 0.5 * normal(rng, COLUMNS, COLUMNS), normal(rng, COLUMNS)
    saved |= {"noise": noise, "added": added, "matrix": matrix, "bias": bias}
    made = {"ddim": scheduling_ddim.DDIMScheduler, "ddpm": scheduling_ddpm.DDPMScheduler}
    for name, (kind, steps, options) in DIFFUSIONS.items():
        scheduler = made[kind](num_train_timesteps=TRAIN, **options)
        scheduler.set_timesteps(steps)
        fresh = iter(torch.from_numpy(added))
        scheduling_ddpm.randn_tensor = lambda *_, fresh=fresh, **__: next(fresh)
        scheduling_ddim.randn_tensor = scheduling_ddpm.randn_tensor
        more = {"eta": 0.7} if name.endswith("eta") else {}
        x = torch.from_numpy(noise)
        for timestep in scheduler.timesteps:
            share = timestep.float() / TRAIN
            predicted = torch.tanh(x @ torch.from_numpy(matrix) + share * torch.from_numpy(bias))
            x = scheduler.step(predicted, timestep, x, **more).prev_sample
        saved[name] = x.numpy()[0]


def octo(rng, saved) -> None:
    width = OCTO_HORIZON * OCTO_DIM
    first = normal(rng, 1, OCTO_WINDOW, width)
    added = normal(rng, OCTO_STEPS, 1, OCTO_WINDOW, width)
    matrix, bias = 0.5 * normal(rng, width, width), normal(rng, width)
    saved |= {"octo_noise": first, "octo_added": added, "octo_matrix": matrix, "octo_bias": bias}
    time = np.linspace(0, OCTO_STEPS, OCTO_STEPS + 1) / OCTO_STEPS
    level = np.cos((time + 0.008) / 1.008 * np.pi * 0.5) ** 2
    level = level / level[0]
    betas = np.clip(1 - level[1:] / level[:-1], 0, 0.999).astype(np.float32)
    alphas = 1 - betas
    alpha_hats = np.cumprod(alphas)
    for active in OCTO_ACTIVE:
        mask = np.tile(np.arange(OCTO_DIM) < active, OCTO_HORIZON)
        x = first
        for step, z in zip(reversed(range(OCTO_STEPS)), added, strict=True):
            eps = np.tanh(x @ matrix + np.float32(step / OCTO_STEPS) * bias)
            scale = 1 / np.sqrt(alphas[step])
            x = scale * (x - (1 - alphas[step]) / np.sqrt(1 - alpha_hats[step]) * eps)
            x = x + (step > 0) * (np.sqrt(betas[step]) * z)
            x = np.clip(x, -5.0, 5.0)
            x = np.where(mask, x, np.sqrt(1 - alpha_hats[step]) * z)
        saved[f"octo_{active}"] = x.reshape(1, OCTO_WINDOW, OCTO_HORIZON, OCTO_DIM)[0, -1]


def actor(rng, saved, sources: Path) -> None:
    root = sources / "CQL" / "d4rl"
    sys.path.insert(0, str(root))
    policies = load(
        "policies", root / "rlkit/torch/sac/policies.py", "gtimer", "gym", "gym.spaces"
    )
    torch.manual_seed(0)
    policy = policies.TanhGaussianPolicy([32], obs_dim=8, action_dim=COLUMNS, init_w=3.0)
    observation = torch.from_numpy(normal(rng, 5, 8))
    noise = torch.from_numpy(normal(rng, 5, COLUMNS))
    drawn = torch.normal
    torch.normal = lambda mean, std: mean + std * noise
    hidden = torch.relu(policy.fcs[0](observation))
    saved["actor_mean"] = policy.last_fc(hidden)
    saved["actor_log_std"] = policy.last_fc_log_std(hidden)
    saved["actor_noise"] = noise
    saved["actor_mode"] = policy(observation, deterministic=True)[0]
    saved["actor_sample"] = policy(observation, deterministic=False)[0]
    torch.normal = drawn


def bins(rng, saved, sources: Path) -> None:
    path = sources / "openvla/prismatic/vla/action_tokenizer.py"
    tokenizer = load("openvla_tokenizer", path, "transformers").ActionTokenizer(
        SimpleNamespace(vocab_size=32000)
    )
    ids = np.concatenate([np.arange(31744, 32000), [0, 29871, 31743, 32000, 32063]])
    saved["openvla_ids"] = ids
    saved["openvla_actions"] = tokenizer.decode_token_ids_to_actions(ids)
    tokens = rng.integers(0, 256, (50, 11))
    tokens[:, 0] = rng.integers(0, 5, 50)
    low = np.array([-1, -1, -1, -np.pi / 2, -np.pi / 2, -np.pi / 2, -1, -np.pi, -1, -1])
    share = tokens[:, 1:].astype(np.float32) / np.float32(255)
    saved["rt1_low"], saved["rt1_tokens"] = low, tokens
    values = share * (2 * np.abs(low)).astype(np.float32) + low.astype(np.float32)
    chosen = np.where(tokens[:, :1] >= 3, 0, tokens[:, :1])
    saved["rt1_actions"] = np.concatenate([chosen, values], axis=1)


def fast(rng, saved) -> None:
    actions = np.cumsum(0.2 * rng.standard_normal((ROWS, COLUMNS)), axis=0)
    numbers = np.around(scipy.fft.dct(actions, axis=0, norm="ortho") * 10).astype(int)
    saved["fast_numbers"] = numbers
    saved["fast_actions"] = scipy.fft.idct(numbers / 10, axis=0, norm="ortho")


def worth(actions: np.ndarray, goal: np.ndarray) -> np.ndarray:
    flat = actions.reshape(len(actions), -1)
    return -np.sum((flat - goal) ** 2, axis=1) + 0.3 * np.sum(np.sin(5 * flat), axis=1)


def qt_opt(rng, saved) -> None:
    noise, goal = normal(rng, 2, 64, 8), 0.5 * rng.standard_normal(8)
    mean, std = np.zeros(8), np.ones(8)
    for drawn in noise:
        actions = mean + drawn * std
        q_values = worth(actions, goal)
        best = q_values.argsort()[-1]
        selected = actions[q_values.argsort()[-6:]]
        mean, std = np.mean(selected, axis=0), np.std(selected, axis=0)
    saved |= {"qt_opt_noise": noise, "qt_opt_goal": goal, "qt_opt_action": actions[best]}


class Settings(dict):
    __getattr__ = dict.__getitem__


def foresight(rng, saved, sources: Path) -> None:
    root = sources / "visual_foresight/visual_mpc/policy"
    base = "visual_mpc.policy.cem_controllers.samplers"
    for package in ("visual_mpc", "visual_mpc.policy", "visual_mpc.policy.utils", base):
        sys.modules[package] = Stub(package)
    load("visual_mpc.policy.utils.controller_utils", root / "utils/controller_utils.py")
    load(f"{base}.cem_sampler", root / "cem_controllers/samplers/cem_sampler.py")
    module = load(f"{base}.gaussian", root / "cem_controllers/samplers/gaussian_sampler.py")
    settings = Settings(module.GaussianCEMSampler.get_default_hparams())
    settings |= {"rejection_sampling": False, "action_bound": False}
    settings |= {"nactions": HELD, "repeat": REPEAT, "reuse_mean": True, "reuse_factor": 1.0}
    noise = normal(rng, 2 * ITERATIONS, CANDIDATES, HELD, ARM)
    goal = 0.1 * rng.standard_normal((HELD * REPEAT, ARM)).reshape(-1)
    fresh = iter(noise)

    def drawn(mean, sigma, count):
        # The covariance's symmetric root: any root gives the same distribution.
        values, vectors = np.linalg.eigh(sigma)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return mean + next(fresh).reshape(count, -1).astype(np.float64) @ root

    original, np.random.multivariate_normal = np.random.multivariate_normal, drawn
    sampler = module.GaussianCEMSampler(settings, ARM, 3)
    plans, played = [], 4
    for inference in range(2):
        actions = sampler.sample_initial_actions(2 * inference, CANDIDATES, None)
        for iteration in range(ITERATIONS):
            scores = -worth(actions, goal)
            order = scores.argsort()[:ELITES]
            best = actions[order]
            if iteration < ITERATIONS - 1:
                actions = sampler.sample_next_actions(CANDIDATES, best.copy(), scores[order])
        plans.append(best[0])
        sampler.log_best_action(best[0, 0], best[:, played:])
    np.random.multivariate_normal = original
    saved |= {"foresight_noise": noise, "foresight_goal": goal, "foresight_plans": plans}


def pddm(rng, saved, sources: Path) -> None:
    names = ("samplers", "samplers.trajectory_sampler", "utils", "utils.helper_funcs")
    stubs = ("pddm", *(f"pddm.{name}" for name in names), "pddm.utils.calculate_costs")
    path = sources / "pddm/pddm/policies/mppi.py"
    module = load("mppi", path, *stubs, "matplotlib", "matplotlib.pyplot")
    horizon, count, width = 7, 50, 3
    goal = 0.5 * rng.standard_normal(horizon * width)
    noise = rng.standard_normal((3, count, horizon, width)).astype(np.float32)
    fresh = iter(noise.astype(np.float64))
    module.turn_acs_into_acsK = lambda taken, samples, *_: samples
    module.calculate_costs = lambda states, samples, *_: (-worth(samples, goal), 0.0, 0.0)
    module.np.random.seed, seed = lambda: None, module.np.random.seed
    module.np.random.normal, drawn = lambda **_: next(fresh), module.np.random.normal
    planner = object.__new__(module.MPPI)
    planner.__dict__ |= {"K": 1, "horizon": horizon, "N": count, "mppi_kappa": 2.0}
    planner.__dict__ |= {"sigma": 0.8 * np.ones(width), "beta": 0.7, "reward_func": None}
    planner.__dict__ |= {"mppi_mean": np.zeros((horizon, width)), "ac_dim": width}
    planner.__dict__ |= {"use_ground_truth_dynamics": False, "execute_sideRollouts": False}
    planner.sample_velocity = False
    planner.dyn_models = SimpleNamespace(do_forward_sim=lambda *_: np.zeros((1, 1)))
    means = []
    for step in range(3):
        planner.get_action(step, np.zeros(1), None, None, False, False)
        means.append(planner.mppi_mean.copy())
    module.np.random.seed, module.np.random.normal = seed, drawn
    saved |= {"mppi_noise": noise, "mppi_goal": goal, "mppi_means": means}


def language(rng, saved) -> None:
    """A small causal transformer that sees everything again for every token."""
    width = HEADS * SIZE
    weights = {
        "embedding": normal(rng, VOCABULARY, width),
        "head": normal(rng, width, VOCABULARY),
        "places": normal(rng, PROMPT + TOKENS, width),
        **{f"{part}_{i}": normal(rng, width, width) / 2 for part in "qkvo" for i in range(LAYERS)},
    }
    ids = rng.integers(0, VOCABULARY, PROMPT).tolist()
    saved["language_prompt"] = ids.copy()
    known = {name: torch.from_numpy(value) for name, value in weights.items()}
    for _ in range(TOKENS):
        x = known["embedding"][ids] + known["places"][: len(ids)]
        unseen = torch.triu(torch.full((len(ids), len(ids)), -math.inf), diagonal=1)
        for i in range(LAYERS):
            q, k, v = (
                (x @ known[f"{part}_{i}"]).reshape(-1, HEADS, SIZE).transpose(0, 1)
                for part in "qkv"
            )
            scores = q @ k.transpose(1, 2) / math.sqrt(SIZE) + unseen
            seen = (scores.softmax(-1) @ v).transpose(0, 1).reshape(-1, width)
            x = torch.tanh(x + seen @ known[f"o_{i}"])
        ids.append(int((x[-1] @ known["head"])[16:].argmax()) + 16)
    saved["language_tokens"] = ids[PROMPT:]
    saved |= {f"language_{name}": value for name, value in weights.items()}


def main(sources: Path, out: Path) -> None:
    rng = np.random.default_rng(0)
    saved: dict[str, object] = {}
    diffusion(rng, saved)
    octo(rng, saved)
    bins(rng, saved, sources)
    fast(rng, saved)
    qt_opt(rng, saved)
    foresight(rng, saved, sources)
    pddm(rng, saved, sources)
    language(rng, saved)
    with torch.no_grad():
        actor(rng, saved, sources)
    np.savez_compressed(out, **{key: np.asarray(value) for key, value in saved.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
