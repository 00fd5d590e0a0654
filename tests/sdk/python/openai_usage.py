import call
from openai import OpenAI

asked = call.arguments("gpt-4.1-mini")
client = OpenAI(max_retries=0)
text, usage = "", None
stream = client.chat.completions.create(
    model=asked.model,
    messages=[{"role": "user", "content": asked.prompt}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
call.done(text, usage.prompt_tokens, usage.completion_tokens)
