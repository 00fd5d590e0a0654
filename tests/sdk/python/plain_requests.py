import call
import requests

asked = call.arguments("gpt-4.1-mini")
answer = requests.post(call.openai_url(), json=call.openai_body(asked), headers=call.openai_headers(), stream=asked.stream, timeout=60)
answer.raise_for_status()
if asked.stream:
    call.done(call.openai_text(answer.iter_lines()))
else:
    body = answer.json()
    call.done(body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])
