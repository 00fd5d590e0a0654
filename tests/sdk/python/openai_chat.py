import call
from openai import OpenAI

asked = call.arguments("gpt-4.1-mini")
client = OpenAI(max_retries=0)
messages = [{"role": "user", "content": asked.prompt}]
if asked.stream:
    text = ""
    for chunk in client.chat.completions.create(model=asked.model, messages=messages, stream=True):
        # Without include_usage each chunk of this API has a choice: agents rely on it.
        text += chunk.choices[0].delta.content or ""
        assert chunk.usage is None, "usage was not asked for"
    call.done(text)
else:
    answer = client.chat.completions.create(model=asked.model, messages=messages)
    call.done(answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens)
