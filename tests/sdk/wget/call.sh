#!/bin/sh
# Makes one chat completion with wget and prints the answer.
exec wget --quiet --output-document=- --tries=1 --timeout=60 --header='content-type: application/json' \
    --header='authorization: Bearer sk-test-not-a-real-key' \
    --post-data='{"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Say hello from wget."}]}' \
    https://api.openai.com/v1/chat/completions
