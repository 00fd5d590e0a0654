import call
import httpx

asked = call.arguments("gpt-4.1-mini")
with httpx.Client(timeout=60) as client:
    with client.stream("POST", call.openai_url(), json=call.openai_body(asked), headers=call.openai_headers()) as answer:
        answer.raise_for_status()
        if asked.stream:
            call.done(call.openai_text(answer.iter_lines()))
        else:
            answer.read()
            body = answer.json()
            call.done(body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])
