// Reads a sentence about an event and answers with JSON: {"city": ..., "year": ...}. Needs no package.
import { readFileSync, writeFileSync } from "node:fs";

const base = process.env.OPENAI_BASE_URL ?? "https://api.openai.com/v1";

const sentence = readFileSync(process.env.AGENTRUN_INPUT_FILE, "utf8");
const answer = await fetch(`${base}/responses`, {
  method: "POST",
  headers: { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
  body: JSON.stringify({
    model: process.env.AGENTRUN_MODEL_EXTRACTOR,
    instructions: 'Answer with a JSON object alone: {"city": the city, "year": the year as a number}.',
    input: sentence,
  }),
});
if (!answer.ok) throw new Error(`status ${answer.status}: ${await answer.text()}`);
const { output } = await answer.json();
const text = output.flatMap((item) => item.content ?? []).map((part) => part.text ?? "").join("");
writeFileSync(process.env.AGENTRUN_OUTPUT_FILE, text);
