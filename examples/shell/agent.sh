#!/bin/sh
# Answers a question with curl: the input on stdin, the answer on stdout.
set -eu
question=$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | tr '\n' ' ')
answer=$(curl --fail-with-body --silent --show-error --max-time 60 https://api.openai.com/v1/chat/completions \
    --header 'content-type: application/json' --header "authorization: Bearer $OPENAI_API_KEY" --data @- <<END
{"model": "$AGENTRUN_MODEL_GEOGRAPHER", "messages": [{"role": "user", "content": "Answer in one sentence: $question"}]}
END
)
# The message's text: good enough for sentences without quotation marks.
printf '%s' "$answer" | tr '\n' ' ' | sed -e 's/.*"content": *"\([^"]*\)".*/\1/'
