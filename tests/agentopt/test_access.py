"""A gateway that demands a token."""

import os
import tempfile

from agentopt import LLMTracker

from rig import Case, ask

TOKEN = "0123456789abcdef0123456789abcdef"


class Token(Case):
    def setUp(self):
        file = tempfile.NamedTemporaryFile("w")
        self.addCleanup(file.close)
        file.write(TOKEN)
        file.flush()
        self.arguments = ("--token-file", file.name)
        super().setUp()

    def test_the_client_shows_the_token_of_its_url(self):
        os.environ["AGENTOPT_GATEWAY_URL"] = self.gateway.url.replace("http://", f"http://agentrun:{TOKEN}@")
        with LLMTracker(combo_id="a") as tracker:
            ask("hello")
        self.assertEqual([record.combo_id for record in tracker.records], ["a"])

    def test_without_it_no_session_is_opened(self):
        with LLMTracker() as tracker:
            with self.assertRaisesRegex(Exception, "401"):
                with tracker.track():
                    pass
