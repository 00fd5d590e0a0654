// What the client scripts share: their arguments, and the one line that they print.
import { parseArgs } from "node:util";

export function arguments_(model) {
  const options = {
    stream: { type: "boolean", default: false },
    model: { type: "string", default: model },
    prompt: { type: "string", default: "Say hello." },
  };
  return parseArgs({ options }).values;
}

export function done(text, inputTokens = null, outputTokens = null) {
  if (!text) throw new Error("the SDK gave no text");
  console.log(JSON.stringify({ text, input_tokens: inputTokens, output_tokens: outputTokens }));
}

export function openaiBody(asked) {
  return { model: asked.model, messages: [{ role: "user", content: asked.prompt }], stream: asked.stream };
}

export const openaiHeaders = { authorization: "Bearer sk-test-not-a-real-key", "content-type": "application/json" };

// The text of a chat completion's stream, from its bytes.
export async function openaiText(chunks) {
  const decoder = new TextDecoder();
  let rest = "", text = "", ended = false;
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") { ended = true; continue; }
      for (const choice of JSON.parse(data).choices) text += choice.delta.content ?? "";
    }
  }
  if (!ended) throw new Error("the stream has no end");
  return text;
}
