use crate::connection::Target;

const NUMBER: &str = "@NUMBER@@NUMBER@";

/// A chat completion request of about `--body-bytes`, with a number of 16 hex digits at a known place.
pub struct Template {
    raw: Vec<u8>,
    at: usize,
}

impl Template {
    pub fn new(target: &Target, stream: bool) -> Self {
        let body = body(target.body_bytes, stream);
        let raw = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer sk-bench\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\nUser-Agent: OpenAI/Python 1.99.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Runtime: CPython\r\n\
             Content-Length: {}\r\n\r\n{body}",
            target.host,
            body.len(),
        );
        let at = raw.rfind(NUMBER).expect("the body holds the place");
        Template { raw: raw.into_bytes(), at }
    }

    /// The whole request, head and body, bearing this number.
    pub fn numbered(&mut self, number: u64) -> &[u8] {
        self.raw[self.at..self.at + NUMBER.len()].copy_from_slice(format!("{number:016x}").as_bytes());
        &self.raw
    }
}

fn body(bytes: usize, stream: bool) -> String {
    let streaming = if stream { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
    let head = format!(
        r#"{{"model":"gpt-4o-mini",{streaming}"temperature":0,"max_tokens":512,"tools":[{{"type":"function","function":{{"name":"search","description":"Search the documents","parameters":{{"type":"object","properties":{{"query":{{"type":"string"}},"k":{{"type":"integer"}}}},"required":["query"]}}}}}}],"messages":[{{"role":"system","content":"Answer with the facts in the documents, \"quoted\", and say when they are missing."}},{{"role":"user","content":""#
    );
    let foot = format!(
        r#""}},{{"role":"assistant","content":"Let me look."}},{{"role":"user","content":"Question {NUMBER}: which of them holds?"}}]}}"#
    );
    let mut text = String::new();
    for passage in 1.. {
        if head.len() + foot.len() + text.len() >= bytes {
            break;
        }
        text.push_str(&format!(r"Passage {passage}: the harbour was rebuilt, caf\u00e9s opened, and 37% of ships returned.\n"));
    }
    format!("{head}{text}{foot}")
}
