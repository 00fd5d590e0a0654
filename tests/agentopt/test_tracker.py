"""LLMTracker with the gateway as its backend."""

import asyncio
import contextlib
import contextvars
import io
import json
import subprocess
import sys
import threading

import agentopt
import httpx
from agentopt import LLMTracker

from rig import AGENT, Case, ask, body, write_certificates


class Tracker(Case):
    def test_a_call_is_recorded_for_its_session(self):
        with LLMTracker() as tracker:
            with tracker.track(data_id="q1", combo_id="a", agent_id="solver"):
                text = ask("hello")
            [record] = tracker.get_records(combo_id="a")
        self.assertEqual((record.data_id, record.combo_id, record.agent_id), ("q1", "a", "solver"))
        self.assertEqual((record.model, record.status_code, record.error, record.cached), ("gpt-4o-mini", 200, None, False))
        self.assertEqual((record.prompt_tokens, record.completion_tokens), (21, 9))
        self.assertEqual(record.request_body["messages"][0]["content"], "hello")
        self.assertEqual(record.response_body["choices"][0]["message"]["content"], text)
        self.assertEqual(tracker.get_usage(data_id="q1"), {"gpt-4o-mini": (21, 9)})
        # Questions after stop() are answered, and nothing is counted twice.
        self.assertEqual(len(tracker.records), 1)
        tracker.close()

    def test_ids_of_the_constructor_open_one_session(self):
        with LLMTracker(combo_id="a") as tracker:
            ask("hello")
        [record] = tracker.records
        self.assertEqual((record.data_id, record.combo_id), ("default", "a"))

    def test_equal_calls_are_paid_once(self):
        with LLMTracker() as tracker:
            texts = []
            for data_id in ("q1", "q2"):
                with tracker.track(data_id=data_id):
                    texts.append(ask("hello"))
            first, second = tracker.records
            self.assertEqual(texts[0], texts[1])
            self.assertEqual((first.cached, second.cached), (False, True))
            self.assertEqual(tracker.get_cached_latency(data_id="q2"), first.latency_seconds)
            self.assertEqual(tracker.get_cached_latency(data_id="q1"), 0.0)
            tracker.flush_cache()
            tracker.clear_cache()
            with tracker.track(data_id="q3"):
                self.assertNotEqual(ask("hello"), texts[0])
        self.assertEqual(len(self.origin.calls()), 2)

    def test_a_stream_flows_and_is_recorded(self):
        with LLMTracker(combo_id="a") as tracker:
            with httpx.Client(timeout=60) as client:
                with client.stream("POST", "https://api.openai.com/v1/chat/completions", json=body("gpt-4o", "hello", stream=True)) as answer:
                    lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
        self.assertEqual(lines[-1], "data: [DONE]")
        chunks = [json.loads(line[6:]) for line in lines[:-1]]
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        [record] = tracker.records
        self.assertEqual((record.prompt_tokens, record.completion_tokens, record.error), (21, 9, None))
        self.assertEqual(record.response_body["choices"][0]["message"]["content"], text)

    def test_failed_calls_are_recorded_and_summed_up(self):
        with LLMTracker(combo_id="a") as tracker:
            with self.assertRaises(httpx.HTTPStatusError):
                ask("hello", model="script/status-429")
            with self.assertRaises(httpx.HTTPStatusError):
                ask("hello", model="script/status-500")
        self.assertEqual([record.status_code for record in tracker.records], [429, 500])
        self.assertEqual([record.error for record in tracker.records], ["HTTP 429", "HTTP 500"])
        self.assertEqual(tracker.get_usage(), {"script/status-429": (0, 0), "script/status-500": (0, 0)})
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            tracker.print_summary()
        self.assertIn("script/status-429", shown.getvalue())

    def test_usage_that_cannot_be_read_does_not_break_sums(self):
        with LLMTracker(combo_id="a") as tracker:
            with httpx.Client(timeout=60) as client:
                client.post("https://api.openai.com/v1/chat/completions", json=body("script/not-json", "hello"))
        [record] = tracker.records
        self.assertEqual((record.prompt_tokens, record.completion_tokens), (0, 0))
        self.assertIn("could not extract token usage", record.error)
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            tracker.print_summary()
        self.assertIn("Total latency", shown.getvalue())

    def test_asyncio(self):
        async def one(tracker, number):
            with tracker.track(data_id=f"q{number}"):
                async with httpx.AsyncClient(timeout=60) as client:
                    answer = await client.post("https://api.openai.com/v1/chat/completions", json=body("m", f"{number}"))
                    return answer.status_code

        async def all_of_them(tracker):
            return await asyncio.gather(*(one(tracker, number) for number in range(20)))

        with LLMTracker() as tracker:
            self.assertEqual(asyncio.run(all_of_them(tracker)), [200] * 20)
        self.not_mixed(tracker, 20)

    def test_threads(self):
        def one(tracker, number):
            with tracker.track(data_id=f"q{number}"):
                ask(f"{number}")

        write_certificates()
        with LLMTracker() as tracker:
            threads = [threading.Thread(target=contextvars.copy_context().run, args=(one, tracker, number)) for number in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.not_mixed(tracker, 20)

    def not_mixed(self, tracker, count):
        for number in range(count):
            [record] = tracker.get_records(data_id=f"q{number}")
            self.assertEqual(record.request_body["messages"][0]["content"], f"{number}")
        self.assertEqual(len(tracker.records), count)

    def test_agents_in_processes_of_their_own(self):
        with LLMTracker() as tracker:
            with tracker.track(data_id="implicit") as session:
                # AgentOpt patches Popen, so that children inherit the session's environment.
                subprocess.run([sys.executable, "-c", AGENT, "implicit"], check=True, capture_output=True)
                env = tracker.get_session_env(session)
            self.assertEqual(set(env), {"HTTPS_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"})
            with tracker.track(data_id="explicit") as session:
                env = {**tracker.get_session_env(session), "PATH": "/usr/bin:/bin"}
                subprocess.run([sys.executable, "-c", AGENT, "explicit"], check=True, capture_output=True, env=env)
        self.assertEqual([record.data_id for record in tracker.records], ["implicit", "explicit"])
        self.assertEqual([record.request_body["messages"][0]["content"] for record in tracker.records], ["implicit", "explicit"])

    def test_a_provider_of_ones_own(self):
        with LLMTracker() as tracker:
            tracker.register_provider("own", self.origin.url, ("/own/chat/completions",))
            with self.assertRaises(httpx.HTTPStatusError):
                tracker.register_provider("own", "no-scheme.example", ("/own",))
            with tracker.track(data_id="q1"), httpx.Client(timeout=60) as client:
                answer = client.post(f"{self.origin.url}/own/chat/completions", json=body("m", "hello"))
                self.assertEqual(answer.status_code, 200)
            [record] = tracker.get_records(data_id="q1")
        self.assertEqual((record.request_url, record.prompt_tokens), (f"{self.origin.url}/own/chat/completions", 21))

    def test_several_trackers_share_a_gateway(self):
        with LLMTracker() as one, LLMTracker() as other:
            with one.track(data_id="one"):
                ask("hello")
            with other.track(data_id="other"):
                ask("hello")
            self.assertEqual(len(one.records), 2)
            self.assertEqual([record.data_id for record in other.get_records(data_id="other")], ["other"])

    def test_the_package_is_the_one_that_was_meant(self):
        self.assertEqual(agentopt.LLMTracker.__module__, "agentopt.proxy.tracker")
