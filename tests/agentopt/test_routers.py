"""Routers of sessions and of the gateway."""

import random

from agentopt import LLMTracker, RandomRouter, Router

from rig import Case, ask

CANDIDATES = ["a", "b", "c"]


def draws(count, seed=7):
    generator = random.Random(seed)
    return [generator.choice(CANDIDATES) for _ in range(count)]


class Sessions(Case):
    def test_a_random_router_draws_as_python_does(self):
        with LLMTracker(router=RandomRouter(CANDIDATES, seed=7)) as tracker:
            for session in ("one", "other"):
                with tracker.track(data_id=session):
                    for number in range(8):
                        ask(f"{session} {number}", model="asked")
        for session in ("one", "other"):
            self.assertEqual([record.model for record in tracker.get_records(data_id=session)], draws(8))

    def test_the_key_is_that_of_the_routed_model(self):
        with LLMTracker() as tracker:
            for model in ("a", "a", "b"):
                with tracker.track(data_id=model, router=RandomRouter([model])):
                    ask("hello", model="asked")
        self.assertEqual([record.cached for record in tracker.records], [False, True, False])

    def test_a_router_of_python_code_is_refused_with_advice(self):
        class Mine(Router):
            def route(self, ctx):
                return "mine"

            def _config_kwargs(self):
                return {}

        with LLMTracker() as tracker:
            with self.assertRaisesRegex(RuntimeError, "Unknown routing policy .*webhook"):
                with tracker.track(router=Mine()):
                    pass


class Default(Case):
    arguments = ("--routing-policy", "random", "--candidate-models", ",".join(CANDIDATES), "--seed", "7")

    def test_sessions_without_a_router_share_the_gateways(self):
        with LLMTracker() as tracker:
            for number in range(8):
                with tracker.track(data_id=f"q{number}"):
                    ask(f"{number}", model="asked")
        self.assertEqual([record.model for record in tracker.records], draws(8))
