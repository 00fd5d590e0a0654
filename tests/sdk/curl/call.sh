#!/bin/sh
# Makes one chat completion with curl and prints its text and usage; python3 reads the JSON.
set -eu
stream=false
model=gpt-4.1-mini
prompt='Say hello.'
while [ $# -gt 0 ]; do
    case $1 in
        --stream) stream=true; shift ;;
        --model) model=$2; shift 2 ;;
        --prompt) prompt=$2; shift 2 ;;
        *) echo "unknown argument $1" >&2; exit 2 ;;
    esac
done
body=$(printf '{"model": "%s", "messages": [{"role": "user", "content": "%s"}], "stream": %s}' "$model" "$prompt" "$stream")
answer=$(curl --fail --silent --show-error --no-buffer --max-time 60 https://api.openai.com/v1/chat/completions \
    -H 'content-type: application/json' -H 'authorization: Bearer sk-test-not-a-real-key' -d "$body")
printf '%s' "$answer" | STREAM=$stream PYTHONPATH=$(dirname "$0")/../python python3 -c '
import json, os, sys, call
if os.environ["STREAM"] == "true":
    call.done(call.openai_text(sys.stdin))
else:
    body = json.load(sys.stdin)
    call.done(body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])
'
