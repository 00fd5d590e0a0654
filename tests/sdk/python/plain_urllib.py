import json
import urllib.request

import call

asked = call.arguments("gpt-4.1-mini")
request = urllib.request.Request(call.openai_url(), data=json.dumps(call.openai_body(asked)).encode(), headers=call.openai_headers())
with urllib.request.urlopen(request, timeout=60) as answer:
    if asked.stream:
        call.done(call.openai_text(answer))
    else:
        body = json.load(answer)
        call.done(body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])
