import call
from openai import OpenAI

asked = call.arguments("gpt-4.1-mini")
client = OpenAI(max_retries=0)
if asked.stream:
    text, answer = "", None
    for event in client.responses.create(model=asked.model, input=asked.prompt, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            answer = event.response
    assert answer.output_text == text, "the deltas and the final text differ"
else:
    answer = client.responses.create(model=asked.model, input=asked.prompt)
    text = answer.output_text
call.done(text, answer.usage.input_tokens, answer.usage.output_tokens)
