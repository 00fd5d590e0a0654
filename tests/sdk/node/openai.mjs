import OpenAI from "openai";
import { arguments_, done } from "./call.mjs";

const asked = arguments_("gpt-4.1-mini");
const client = new OpenAI({ maxRetries: 0 });
const request = { model: asked.model, messages: [{ role: "user", content: asked.prompt }], stream: asked.stream };
const answer = await client.chat.completions.create(request);
if (asked.stream) {
  let text = "";
  for await (const chunk of answer) text += chunk.choices[0].delta.content ?? "";
  done(text);
} else {
  done(answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens);
}
