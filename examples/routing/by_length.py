"""A policy of AgentOpt: short questions to one model, long ones to another, and no long one twice in a row."""

from agentopt import Router


class ByLength(Router):
    def __init__(self, small, large, characters=120):
        self.small, self.large, self.characters = small, large, characters

    def route(self, ctx):
        length = sum(len(str(message.get("content", ""))) for message in ctx.request_body.get("messages", []))
        was_large = bool(ctx.history) and ctx.history[-1].model == self.large
        return self.large if length > self.characters and not was_large else self.small
