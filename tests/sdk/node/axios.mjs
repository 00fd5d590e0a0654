import axios from "axios";
import { arguments_, done, openaiBody, openaiHeaders, openaiText } from "./call.mjs";

const asked = arguments_("gpt-4.1-mini");
const answer = await axios.post("https://api.openai.com/v1/chat/completions", openaiBody(asked), {
  headers: openaiHeaders,
  responseType: asked.stream ? "stream" : "json",
});
if (asked.stream) {
  done(await openaiText(answer.data));
} else {
  done(answer.data.choices[0].message.content, answer.data.usage.prompt_tokens, answer.data.usage.completion_tokens);
}
