import call
from anthropic import Anthropic

asked = call.arguments("claude-sonnet-4-5")
answer = Anthropic(max_retries=0).messages.count_tokens(model=asked.model, messages=[{"role": "user", "content": asked.prompt}])
call.done(str(answer.input_tokens), answer.input_tokens, 0)
