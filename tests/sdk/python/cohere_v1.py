import call
import cohere

asked = call.arguments("command-r-08-2024")
client = cohere.Client()
if asked.stream:
    text, answer = "", None
    for event in client.chat_stream(model=asked.model, message=asked.prompt):
        if event.event_type == "text-generation":
            text += event.text
        if event.event_type == "stream-end":
            answer = event.response
    assert answer.text == text, "the deltas and the final text differ"
else:
    answer = client.chat(model=asked.model, message=asked.prompt)
    text = answer.text
call.done(text, answer.meta.tokens.input_tokens, answer.meta.tokens.output_tokens)
