import call
from openai import OpenAI

asked = call.arguments("gpt-4.1-mini")
client = OpenAI(max_retries=0)
messages = [{"role": "user", "content": asked.prompt}]
if asked.stream:
    text, usage = "", None
    stream = client.chat.completions.create(
        model=asked.model, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
else:
    answer = client.chat.completions.create(model=asked.model, messages=messages)
    text, usage = answer.choices[0].message.content, answer.usage
call.done(text, usage.prompt_tokens, usage.completion_tokens)
