import call
from anthropic import Anthropic

asked = call.arguments("claude-sonnet-4-5")
client = Anthropic(max_retries=0)
request = {"model": asked.model, "max_tokens": 64, "messages": [{"role": "user", "content": asked.prompt}]}
if asked.stream:
    with client.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert answer.content[0].text == text, "the deltas and the final text differ"
else:
    answer = client.messages.create(**request)
    text = answer.content[0].text
call.done(text, answer.usage.input_tokens, answer.usage.output_tokens)
