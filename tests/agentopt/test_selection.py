"""ModelSelector with the gateway as its tracker's backend."""

import warnings

from agentopt import LLMTracker, ModelSelector

from rig import Case, ask

RIGHT, WRONG = "gpt-4.1", "gpt-4.1-mini"
DATASET = [(f"question {number}", f"answer {number}") for number in range(6)]


class Agent:
    """Two roles; the solver's answer counts."""

    def __init__(self, models):
        self.models = models

    def run(self, question):
        plan = ask(f"plan {question}", model=self.models["planner"])
        return ask(f"solve {question} by {plan}", model=self.models["solver"])


def correct(expected, actual):
    return float(expected == actual)


class Selection(Case):
    def setUp(self):
        super().setUp()
        rules = [{"model": RIGHT, "contains": [f"solve {question} "], "text": answer} for question, answer in DATASET]
        self.origin.rules([*rules, {"contains": ["solve "], "text": "I do not know"}, {"contains": ["plan "], "text": "think"}])

    def select(self, method, parallel=False, **more):
        tracker = LLMTracker()
        models = {"planner": [RIGHT, WRONG], "solver": [WRONG, RIGHT]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            selector = ModelSelector(Agent, models, correct, DATASET, method=method, tracker=tracker, **more)
            how = {"parallel": True, "max_concurrent": 8} if parallel else {}
            return selector.select_best(**how), tracker

    def best_is_right(self, results):
        [best] = [result for result in results.results if result.is_best]
        self.assertEqual(best.accuracy, 1.0)
        self.assertIn(f"solver={RIGHT}", best.model_name)
        return best

    def test_brute_force(self):
        results, tracker = self.select("brute_force")
        best = self.best_is_right(results)
        self.assertEqual(len(results.results), 4)
        for result in results.results:
            records = tracker.get_records(combo_id=result.model_name)
            self.assertEqual(len(records), 2 * len(DATASET), "every call, and those of no other combo")
            models = dict(part.split("=") for part in result.model_name.split(" + "))
            self.assertEqual({record.model for record in records}, set(models.values()))
            self.assertEqual(sum(result.input_tokens.values()), 21 * len(records))
        self.assertGreater(results.selection_cost, 0)
        self.assertIn(best.model_name, str(results))
        # Combos share their planners' calls, and a plan is the same text: equal calls are paid once.
        paid = [record for record in tracker.records if not record.cached]
        self.assertEqual(len(paid), len(self.origin.calls()))
        self.assertEqual(len(paid), len(DATASET) * (2 + 2))

    def test_brute_force_in_parallel(self):
        results, tracker = self.select("brute_force", parallel=True)
        self.best_is_right(results)
        for result in results.results:
            self.assertEqual(len(tracker.get_records(combo_id=result.model_name)), 2 * len(DATASET))

    def test_auto(self):
        self.best_is_right(self.select("auto")[0])

    def test_arm_elimination(self):
        self.best_is_right(self.select("arm_elimination")[0])

    def test_matrix_ucb(self):
        self.best_is_right(self.select("matrix_ucb", sample_fraction=1.0)[0])
