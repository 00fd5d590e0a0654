import os

import call
from mistralai.client import Mistral

asked = call.arguments("mistral-small-latest")
client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])
messages = [{"role": "user", "content": asked.prompt}]
if asked.stream:
    text, usage = "", None
    for event in client.chat.stream(model=asked.model, messages=messages):
        text += event.data.choices[0].delta.content or ""
        usage = event.data.usage or usage
else:
    answer = client.chat.complete(model=asked.model, messages=messages)
    text, usage = answer.choices[0].message.content, answer.usage
call.done(text, usage.prompt_tokens, usage.completion_tokens)
