"""ModelSelector with the gateway as its tracker's backend: each of its methods, one combo at a time and at once."""

import importlib
import random
import sys
import unittest
import warnings
from unittest import mock

import agentopt
import httpx
from agentopt import LLMTracker, ModelSelector

from rig import Case, ask, body, write_certificates

RIGHT, WRONG, OTHER = "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"
DATASET = [(f"question {number}", f"answer {number}") for number in range(4)]
# What the origin's answers say that a call took, in and out.
TOKENS = 21


class Agent:
    """Two roles; the solver's answer counts."""

    def __init__(self, models):
        self.models = models

    def run(self, question):
        plan = ask(f"plan {question}", model=self.models["planner"])
        return ask(f"solve {question} by {plan}", model=self.models["solver"])


class AsyncAgent(Agent):
    """The same on the selector's event loop."""

    async def run(self, question):
        async with httpx.AsyncClient(timeout=60) as client:

            async def ask(prompt, model):
                answer = await client.post("https://api.openai.com/v1/chat/completions", json=body(model, prompt), headers={"authorization": "Bearer k"})
                answer.raise_for_status()
                return answer.json()["choices"][0]["message"]["content"]

            plan = await ask(f"plan {question}", self.models["planner"])
            return await ask(f"solve {question} by {plan}", self.models["solver"])


def correct(expected, actual):
    return float(expected == actual)


class Selection(Case):
    def setUp(self):
        super().setUp()
        rules = [{"model": RIGHT, "contains": [f"solve {question} "], "text": answer} for question, answer in DATASET]
        self.origin.rules([*rules, {"contains": ["solve "], "text": "I do not know"}, {"contains": ["plan "], "text": "think"}])

    def select(self, method, parallel=False, agent=Agent, models=(RIGHT, WRONG), dataset=DATASET, **more):
        write_certificates()
        tracker = LLMTracker()
        roles = {"planner": list(models), "solver": list(reversed(models))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            selector = ModelSelector(agent, roles, correct, dataset, method=method, tracker=tracker, **more)
            how = {"parallel": True, "max_concurrent": 8} if parallel else {}
            return selector.select_best(**how), tracker

    def best_is_right(self, results):
        [best] = [result for result in results.results if result.is_best]
        self.assertEqual(best.accuracy, 1.0)
        self.assertIn(f"solver={RIGHT}", best.model_name)
        return best

    def records_are_their_trials(self, results, tracker):
        """Each trial has its plan and its solution, in this order and by its combo's models, and nobody else's calls."""
        told = 0
        for result in results.results:
            models = dict(part.split("=") for part in result.model_name.split(" + "))
            records = tracker.get_records(combo_id=result.model_name)
            trials = {record.data_id for record in records}
            self.assertEqual(len(trials), len(result.datapoint_results), result.model_name)
            for trial in trials:
                called = [record.model for record in tracker.get_records(data_id=trial)]
                self.assertEqual(called, [models["planner"], models["solver"]], trial)
            self.assertEqual(sum(result.input_tokens.values()), TOKENS * len(records))
            told += len(records)
        self.assertEqual(told, len(tracker.records), "no call belongs to no combo")

    def select_well(self, method, **more):
        results, tracker = self.select(method, **more)
        self.best_is_right(results)
        self.records_are_their_trials(results, tracker)
        return results

    def not_run(self, method, missing):
        print(f"\ntests/agentopt: NOT RUN: {method} wants {missing}", file=sys.stderr)
        self.skipTest(f"{method} wants {missing}")

    def test_brute_force(self):
        results, tracker = self.select("brute_force")
        best = self.best_is_right(results)
        self.records_are_their_trials(results, tracker)
        self.assertEqual([len(result.datapoint_results) for result in results.results], [len(DATASET)] * 4)
        self.assertGreater(results.selection_cost, 0)
        self.assertIn(best.model_name, str(results))
        # Combos share their planners' calls, and a plan is the same text: equal calls are paid once.
        paid = [record for record in tracker.records if not record.cached]
        self.assertEqual(len(paid), len(self.origin.calls()))
        self.assertEqual(len(paid), len(DATASET) * (2 + 2))

    def test_brute_force_in_parallel(self):
        results = self.select_well("brute_force", parallel=True)
        self.assertEqual([len(result.datapoint_results) for result in results.results], [len(DATASET)] * 4)

    def test_brute_force_of_an_async_agent(self):
        results = self.select_well("brute_force", parallel=True, agent=AsyncAgent)
        self.assertEqual([len(result.datapoint_results) for result in results.results], [len(DATASET)] * 4)

    def test_brute_force_weighs_cost(self):
        results = self.select_well("brute_force", lambda_cost=0.1)
        [best] = [result for result in results.results if result.is_best]
        # What is told of each trial's tokens prices it: as good with the cheaper planner is better.
        self.assertEqual(best.model_name, f"planner={WRONG} + solver={RIGHT}")

    def test_auto(self):
        self.select_well("auto")

    def test_arm_elimination(self):
        self.select_well("arm_elimination")

    def test_arm_elimination_in_parallel(self):
        self.select_well("arm_elimination", parallel=True)

    def test_matrix_ucb(self):
        self.select_well("matrix_ucb", sample_fraction=1.0)

    def test_matrix_ucb_of_a_part(self):
        results = self.select_well("matrix_ucb", sample_fraction=0.75, seed=0)
        self.assertEqual(sum(len(result.datapoint_results) for result in results.results), 12)

    def test_matrix_ucb_lrf(self):
        for module in ["torch", "einops", "agentopt.model_selection.matrix_ucb_factorization"]:
            try:
                importlib.import_module(module)
            except ImportError:
                self.not_run("matrix_ucb_lrf", module)
        self.select_well("matrix_ucb_lrf", seed=0)

    def select_by_bayes(self, **more):
        if agentopt.BayesianOptimizationModelSelector is None:
            self.not_run("bayesian", "AgentOpt's selector of it")
        for module in ["torch", "botorch", "gpytorch"]:
            try:
                importlib.import_module(module)
            except ImportError:
                self.not_run("bayesian", module)
        # Many threads for so small matrices wait for each other for seconds on a busy machine.
        importlib.import_module("torch").set_num_threads(1)
        # Its first combos come from the interpreter's own generator.
        random.seed(0)
        selector = agentopt.BayesianOptimizationModelSelector
        with mock.patch.object(selector, "_bo_fit_and_acquire", autospec=True, side_effect=selector._bo_fit_and_acquire) as fit:
            # Six of nine combos are drawn before a process is fitted to what was seen; three of nine are right, one is left out.
            results = self.select_well("bayesian", models=(RIGHT, WRONG, OTHER), dataset=DATASET[:2], sample_fraction=0.88, **more)
        self.assertEqual(len(results.results), 8)
        return fit.call_count

    def test_bayesian(self):
        self.assertEqual(self.select_by_bayes(), 2)

    def test_bayesian_in_parallel(self):
        self.assertEqual(self.select_by_bayes(parallel=True, batch_size=3), 1)


class Methods(unittest.TestCase):
    def test_each_has_a_test(self):
        for method in agentopt._METHODS:
            self.assertTrue(hasattr(Selection, f"test_{method}"), method)
