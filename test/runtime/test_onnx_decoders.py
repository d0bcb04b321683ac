# SPDX-License-Identifier: Apache-2.0
"""Every decoder on real graphs: what a document says is what runs, or is refused in one line."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_factory import JOINTS, ROWS, constant, model, value_info, write_bundle
from decoder_bundles import (
    FLOAT,
    INT64,
    STATE,
    WIDTH,
    counting_model,
    denoise_model,
    language_model,
    scripted_model,
    state_document,
    state_input,
    state_model,
    worth_model,
)
from decoder_golden import GOLDEN
from pydantic import TypeAdapter

from levine_policy_node.core.decoders.diffusion import DiffusionDecoder
from levine_policy_node.core.decoders.noise import Noise
from levine_policy_node.core.diffusion_schedule import (
    Clip,
    cumulative_alphas,
    ddim_steps,
    ddpm_steps,
)
from levine_policy_node.core.fast_tokens import inverse_cosine
from levine_policy_node.core.observation import Observation
from levine_policy_node.core.units import StampNs
from levine_policy_node.errors import BundleError, InferenceError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime.decoder_schema import DecoderSpec
from levine_policy_node.runtime.graph_schema import Graphs

ROBOT = load_robot("sim_so101")
DOCS = Path(__file__).parents[2] / "docs" / "bundles.md"
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(1, ROWS, WIDTH)).astype(np.float32)
ONE_ROW = {"chunk__size": 1, "chunk__execute": 1}


def observation(positions=None):
    return Observation(StampNs(1), np.zeros(WIDTH) if positions is None else positions, {})


@pytest.fixture
def make(load_written):
    def policy(described, graph=None, **files):
        contents = {f"{name}.onnx": content for name, content in files.items()}
        contents |= {
            name.replace("_json", ".json"): contents.pop(f"{name}.onnx")
            for name in files
            if name.endswith("_json")
        }
        return load_written(lambda folder: write_bundle(folder, described, graph, contents), ROBOT)

    return policy


def positions(policy, seen=None):
    return policy.infer(observation(seen)).positions


def test_a_gaussian_actor_gives_its_squashed_mean(make):
    described = state_document({"type": "gaussian"})
    found = positions(make(described, state_model({"mean": TABLE, "log_std": TABLE})))
    np.testing.assert_allclose(found, np.tanh(TABLE[0]), atol=1e-6)


def test_a_stochastic_actor_draws_and_repeats_itself_after_a_reset(make):
    described = state_document(
        {"type": "gaussian", "squash": "none", "deterministic": False, "log_std_range": [-5, 2]}
    )
    graph = state_model({"mean": TABLE, "log_std": np.full_like(TABLE, 9.0)})
    policy = make(described, graph)
    first, second = positions(policy), positions(policy)
    assert np.any(first != second)
    expected = TABLE[0] + np.exp(2.0) * Noise().draw((ROWS, WIDTH))
    np.testing.assert_allclose(first, expected, atol=1e-5)
    policy.reset()
    np.testing.assert_array_equal(positions(policy), first)


def hil_serl(**changes):
    return state_document(
        [
            {"type": "gaussian"},
            {"type": "argmax", "graph": "grasp", "output": "q", "values": [-1, 0, 1]},
        ],
        graphs={"encode": "encode.onnx", "step": "policy.onnx", "grasp": "grasp.onnx"},
        **{**ONE_ROW, **changes},
    )


def hil_serl_graphs():
    features = [value_info("features", [1, 2])]
    return {
        "graph": model(
            [constant("none", np.zeros((1, 1))), constant("mean", TABLE[:, 0, :5])],
            [value_info("mean", [1, 5])],
            features,
        ),
        "encode": state_model({"features": np.zeros((1, 2))}),
        "grasp": model([constant("q", [[0.0, 2.0, 1.0]])], [value_info("q", [1, 3])], features),
    }


def test_an_arm_and_a_gripper_of_two_graphs_share_one_encoder(make):
    found = positions(make(hil_serl(), **hil_serl_graphs()))
    np.testing.assert_allclose(found, [[*np.tanh(TABLE[0, 0, :5]), 0.0]], atol=1e-6)


@pytest.mark.parametrize("flat", [False, True])
def test_bins_of_one_pass(make, flat):
    numbers = RNG.integers(0, 16, (ROWS, WIDTH))
    logits = np.eye(16, dtype=np.float32)[numbers][None]
    logits = logits.reshape(1, -1, 16) if flat else logits
    described = state_document({"type": "bins", "bins": 16, "value": "edges", "low": [0] * WIDTH})
    found = positions(make(described, state_model({"logits": logits})))
    np.testing.assert_allclose(found, numbers / 15, atol=1e-12)


def test_the_last_row_of_everything_seen_is_the_action(make):
    described = state_document({"type": "direct", "output": "action", "index": -1}, **ONE_ROW)
    found = positions(make(described, state_model({"action": TABLE})))
    np.testing.assert_allclose(found, TABLE[:, -1], atol=1e-7)


class Denoise:
    """`denoise_model` in NumPy."""

    def run(self, role, inputs):
        share = np.float32(0.01) * np.float32(inputs["timestep"].flat[0])
        return {"noise_pred": np.float32(0.5) * inputs["sample"] + share}


COSINE = cumulative_alphas("squaredcos_cap_v2", 100)
DIFFUSIONS = {
    "ddim": ({"scheduler": "ddim", "steps": 10}, ddim_steps(COSINE, 10, "epsilon")),
    "ddpm": ({"scheduler": "ddpm", "steps": 20}, ddpm_steps(COSINE, 20, "epsilon")),
}


@pytest.mark.parametrize("time", [(), (1,), ("batch",), (1, 1, 1)])
@pytest.mark.parametrize("kind", [INT64, FLOAT])
@pytest.mark.parametrize("scheduler", DIFFUSIONS)
def test_diffusion_is_what_core_does_whatever_shape_its_time_has(make, scheduler, kind, time):
    spec, steps = DIFFUSIONS[scheduler]
    graph = denoise_model((1, ROWS, WIDTH), time, kind)
    policy = make(state_document({"type": "diffusion", **spec}), graph)
    reference = DiffusionDecoder(
        rows=ROWS,
        columns=WIDTH,
        shape=(ROWS, WIDTH),
        steps=steps,
        sample="sample",
        time="timestep",
        output="noise_pred",
        time_shape=(),
        time_dtype="int64",
        encode=False,
        clip=Clip(1.0),
    )
    expected = reference.decode(Denoise(), {}, Noise(), None)
    np.testing.assert_allclose(positions(policy), expected, atol=1e-5)


def test_octos_windows_flat_rows_and_padding(make):
    decoder = {
        "type": "diffusion",
        "scheduler": "ddpm",
        "steps": 20,
        "num_train_timesteps": 20,
        "clip_sample": 5.0,
        "clip_on": "sample",
        "variance": "fixed_large",
        "padding": "noise",
        "shape": [2, 4 * 7],
        "index": -1,
        "sample": "noisy_actions",
        "timestep": "time",
        "output": "eps",
    }
    names = ("noisy_actions", "time", "eps")
    graph = denoise_model((1, 2, 28), (1, 2, 1), FLOAT, names)
    policy = make(state_document(decoder, chunk__size=4), graph)
    found = positions(policy)
    assert found.shape == (4, WIDTH)
    assert np.all(np.abs(found) <= 5.0)


def test_several_samples_are_one_run(make):
    decoder = {"type": "diffusion", "scheduler": "ddim", "steps": 5, "samples": 3}
    assert positions(make(state_document(decoder), denoise_model((3, ROWS, 6)))).shape == (ROWS, 6)


TOKENS = {
    "type": "autoregressive",
    "tokens": WIDTH,
    "prompt": [1, 2],
    "detokenize": {"type": "bins", "bins": 32, "value": "integers"},
}


def sums(prompt, count, vocabulary=32):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(sum(tokens) % vocabulary)
    return tokens[len(prompt) :]


def test_generated_tokens_go_through_the_cache(make):
    policy = make(state_document(TOKENS, **ONE_ROW), language_model())
    for _ in range(2):
        np.testing.assert_array_equal(positions(policy), [sums([1, 2], WIDTH)])


def test_a_prompt_from_nowhere_is_refused(make):
    described = state_document({**TOKENS, "prompt": []}, **ONE_ROW)
    with pytest.raises(BundleError, match="no observation gives a prompt"):
        make(described, language_model())


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="no tokenizers")
def test_integers_that_are_written_as_text(make):
    words = {str(number): number for number in range(32)}
    tokenizer = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "0"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
    }
    text = {"type": "text", "bins": 32, "value": "integers", "tokenizer": "tokenizer.json"}
    described = state_document({**TOKENS, "detokenize": text}, **ONE_ROW)
    policy = make(described, language_model(), tokenizer_json=json.dumps(tokenizer).encode())
    np.testing.assert_array_equal(positions(policy), [sums([1, 2], WIDTH)])


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is not None, reason="it is there")
def test_without_the_package_for_tokenizers_a_bundle_that_needs_it_says_so(make):
    text = {"type": "text", "value": "integers", "tokenizer": "tokenizer.json"}
    described = state_document({**TOKENS, "detokenize": text}, **ONE_ROW)
    with pytest.raises(BundleError, match="needs the package tokenizers"):
        make(described, language_model(), tokenizer_json=b"{}")


def fast_tokenizer(numbers):
    """A byte-level BPE of coefficients, as `UniversalActionProcessor.fit` trains one."""
    tokenizers = importlib.import_module("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    text = "".join(chr(number) for number in numbers)
    made.train_from_iterator([text] * 4, trainer)
    return made.to_str().encode(), made.encode(text).ids


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="no tokenizers")
def test_fast_tokens_until_the_end(make):
    numbers = GOLDEN["fast_numbers"][:ROWS]
    least = int(numbers.min())
    tokenizer, ids = fast_tokenizer((numbers - least).reshape(-1))
    assert len(ids) < numbers.size
    vocabulary = 600
    first = vocabulary - 1 - 128
    written = [first - number for number in ids] + [1]
    decoder = {
        "type": "autoregressive",
        "tokens": 256,
        "stop": 1,
        "prompt": [2],
        "allowed": [0, first],
        "detokenize": {
            "type": "fast",
            "tokenizer": "fast.json",
            "min_token": least,
            "first_token": first,
        },
    }
    graph = scripted_model(written, vocabulary)
    policy = make(state_document(decoder), graph, fast_json=tokenizer)
    np.testing.assert_allclose(positions(policy), inverse_cosine(numbers / 10), atol=1e-9)


CEM = {
    "type": "cem",
    "samples": 64,
    "elites": 6,
    "iterations": 6,
    "std": 0.5,
    "bounds": [-1.0, [0.2] * WIDTH],
    "value": "cost",
}


@pytest.mark.parametrize("changes", [{}, {"batch": 10}, {"repeat": 4, "covariance": "full"}])
def test_cem_finds_the_cheapest_actions_within_bounds(make, changes):
    policy = make(state_document({**CEM, **changes}, chunk__size=4), worth_model(4, -0.4))
    assert np.abs(positions(policy) + 0.4).mean() < 0.3
    near = make(state_document({**CEM, **changes}, chunk__size=4), worth_model(4, 0.5))
    found = positions(near)
    assert np.all(found <= 0.2)
    assert np.abs(found - 0.2).mean() < 0.2


MPPI = {"type": "mppi", "samples": 200, "temperature": 0.05, "std": 0.3, "noise_beta": 0.7}


def test_mppi_goes_on_from_its_last_plan_until_a_reset(make):
    decoder = {**MPPI, "horizon": 8, "value": "cost"}
    policy = make(state_document(decoder, chunk__size=4), worth_model(8, 0.5))
    plans = [positions(policy) for _ in range(6)]
    assert plans[0].shape == (4, WIDTH)
    gaps = [np.abs(plan - 0.5).mean() for plan in plans]
    assert gaps[-1] < 0.6 * gaps[0]
    policy.reset()
    np.testing.assert_array_equal(positions(policy), plans[0])


def test_a_state_is_carried_on_and_forgotten_by_a_reset(make):
    described = state_document({"type": "direct", "output": "action"}, feedback={"h_in": "h_out"})
    policy = make(described, counting_model())
    assert [positions(policy)[0, 0] for _ in range(3)] == [1.0, 2.0, 3.0]
    with pytest.raises(InferenceError, match="not finite"):
        policy.infer(observation(np.full(WIDTH, 200.0)))
    assert positions(policy)[0, 0] == 4.0
    policy.reset()
    assert positions(policy)[0, 0] == 1.0


def direct(**changes):
    return state_document({"type": "direct", "output": "action"}, **changes)


MEAN = state_model({"mean": TABLE})
REFUSED = {
    "an unknown role": (
        direct(graphs={"step": "policy.onnx", "stepp": "policy.onnx"}),
        MEAN,
        "graphs.stepp is run by no decoder",
    ),
    "a role that is not there": (
        state_document({"type": "gaussian", "graph": "actor"}),
        MEAN,
        "decoder.graph actor is not one of graphs: step",
    ),
    "no mean": (
        state_document({"type": "gaussian", "mean": "mu"}),
        MEAN,
        "decoder.mean: 'mu' is not an output of the graph",
    ),
    "no deviation": (
        state_document({"type": "gaussian", "deterministic": False}),
        MEAN,
        "decoder.log_std: 'log_std' is not an output of the graph",
    ),
    "deviation of nothing": (
        state_document({"type": "gaussian", "deterministic": False, "log_std": None}),
        MEAN,
        "needs the output log_std",
    ),
    "too many columns": (
        state_document([{"type": "gaussian", "columns": 6}, {"type": "argmax", "values": [0, 1]}]),
        MEAN,
        "columns add up to 7, but action.parts has 6",
    ),
    "columns of nobody": (
        state_document([{"type": "gaussian"}, {"type": "direct"}]),
        MEAN,
        "give columns of all but one",
    ),
    "fields of one of several": (
        state_document([{"type": "gaussian"}, {"type": "argmax", "values": [0, "x"]}]),
        MEAN,
        "decoder.1.values.1",
    ),
    "scores of other choices": (
        state_document({"type": "argmax", "values": [[0.0] * 6, [1.0] * 6]}),
        MEAN,
        "has shape [1, 8, 6]",
    ),
    "logits of fewer bins": (
        state_document({"type": "bins", "bins": 17, "value": "centers"}),
        state_model({"logits": np.zeros((1, ROWS, WIDTH, 16))}),
        "has 16 logits per value",
    ),
    "ends of other columns": (
        state_document({"type": "bins", "value": "centers", "low": [0.0, 1.0]}),
        MEAN,
        "low has 2 values for 6 columns",
    ),
    "an empty range": (
        state_document({"type": "bins", "value": "centers", "allowed": [9, 3]}),
        MEAN,
        "allowed [9, 3] is empty",
    ),
    "a noise of ddim": (
        state_document(
            {"type": "diffusion", "scheduler": "ddim", "steps": 5, "variance": "fixed_large"}
        ),
        denoise_model(),
        "only scheduler ddpm has it",
    ),
    "more steps than in training": (
        state_document({"type": "diffusion", "scheduler": "ddpm", "steps": 101}),
        denoise_model(),
        "is more than num_train_timesteps 100",
    ),
    "windows without an index": (
        state_document(
            {"type": "diffusion", "scheduler": "ddpm", "steps": 5, "shape": [2, ROWS * WIDTH]}
        ),
        denoise_model(),
        "index says which window",
    ),
    "a sample of another shape": (
        state_document({"type": "diffusion", "scheduler": "ddpm", "steps": 5}),
        denoise_model((1, ROWS, 7)),
        "but the decoder's sample is float32 of shape [1, 8, 6]",
    ),
    "a value that says not what is better": (
        state_document({**CEM, "value": "score"}, chunk__size=4),
        worth_model(4, 0.0, "score"),
        "say maximize: true or false",
    ),
    "a plan that is too short": (
        state_document({**CEM, "horizon": 4}),
        worth_model(4, 0.0),
        "horizon 4 is less than chunk.size 8",
    ),
    "actions held for too long": (
        state_document({**CEM, "repeat": 3}, chunk__size=4),
        worth_model(4, 0.0),
        "is no multiple of repeat 3",
    ),
    "a plan of unknown age": (
        state_document({**MPPI, "value": "cost"}, chunk__replan="at_once"),
        worth_model(ROWS, 0.0),
        "needs chunk.replan: every",
    ),
    "candidates of another horizon": (
        state_document(CEM, chunk__size=4),
        worth_model(5, 0.0),
        "but the candidates are float32 of shape [64, 4, 6]",
    ),
    "too few tokens": (
        state_document({**TOKENS, "tokens": 5}, **ONE_ROW),
        language_model(),
        "decoder.tokens 5 must be 6",
    ),
    "a token beyond the vocabulary": (
        state_document({**TOKENS, "allowed": [0, 32]}, **ONE_ROW),
        language_model(),
        "has 32 logits, so there is no token 32",
    ),
    "a state that nobody has": (
        direct(feedback={"h_in": "h_out"}),
        state_model({"action": TABLE}),
        "no graph has the input h_in",
    ),
    "a state that nobody returns": (
        direct(feedback={"h_in": "h"}),
        counting_model(),
        "no graph has an output named h",
    ),
    "a state of unknown age": (
        direct(feedback={"h_in": "h_out"}, chunk__replan="at_once"),
        counting_model(),
        "feedback counts inferences as time",
    ),
    "a state that is no observation": (
        direct(),
        counting_model(),
        "input h_in: nothing feeds it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(make, case):
    described, graph, expected = REFUSED[case]
    with pytest.raises(BundleError) as caught:
        make(described, graph)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_graph_of_a_decoder_may_have_weights_and_hash_of_its_own(make):
    described = hil_serl()
    described["graphs"]["grasp"] = {"file": "grasp.onnx"}
    assert make(described, **hil_serl_graphs()).bundle.document.graphs.pipelines["grasp"][0].file


def test_an_input_of_a_decoder_is_no_observation(make):
    described = state_document({"type": "diffusion", "scheduler": "ddim", "steps": 5})
    described["observations"]["sample"] = {
        "kind": "state/joint/position",
        "names": list(JOINTS),
    }
    with pytest.raises(BundleError, match=r"input sample: is fed by policy\.yaml and by"):
        make(described, denoise_model())
    assert STATE in described["observations"]
    assert state_input().name == STATE


EXAMPLES = [
    yaml.safe_load(block)
    for block in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    if "decoder:" in block
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: str(e["decoder"])[:60])
def test_every_example_of_the_documentation_is_understood(example):
    TypeAdapter(DecoderSpec).validate_python(example["decoder"])
    if "graphs" in example:
        Graphs.model_validate(example["graphs"])


def test_the_documentation_has_an_example_of_every_decoder():
    shown = [example["decoder"] for example in EXAMPLES]
    types = {one["type"] for spec in shown for one in (spec if isinstance(spec, list) else [spec])}
    assert types == {
        *("direct", "gaussian", "argmax", "bins", "autoregressive", "flow", "diffusion"),
        *("cem", "mppi"),
    }
