//! Errors of the proxy's own, worded as the provider would, so that SDKs raise their usual types.

use serde_json::json;

use crate::provider::Shape;

/// The body of an error answer in the shape of `shape`. `status` is the HTTP status it goes with, `kind` a short
/// machine-readable word for what happened, `message` a sentence for the reader.
pub fn error_body(shape: Shape, status: u16, kind: &str, message: &str) -> String {
    let body = match shape {
        Shape::OpenAi => json!({ "error": { "message": message, "type": openai_type(status), "param": null, "code": kind } }),
        Shape::Mistral => json!({ "object": "error", "message": message, "type": openai_type(status), "param": null, "code": kind }),
        Shape::Anthropic => json!({ "type": "error", "error": { "type": anthropic_type(status), "message": message, "code": kind } }),
        Shape::Gemini => {
            let details = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": kind, "domain": "agentrun.dev" }]);
            json!({ "error": { "code": status, "message": message, "status": google_status(status), "details": details } })
        }
        Shape::Cohere => json!({ "message": message, "code": kind }),
        Shape::Bedrock => json!({ "__type": bedrock_exception(status), "message": message }),
    };
    body.to_string()
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// The exception's name, which AWS SDKs read from `__type` where the header `x-amzn-errortype` is missing.
fn bedrock_exception(status: u16) -> &'static str {
    match status {
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_shape_words_an_error_as_its_sdk_reads_it() {
        let cases = [
            (Shape::OpenAi, 429, "/error/type", json!("rate_limit_error")),
            (Shape::OpenAi, 503, "/error/code", json!("replay_miss")),
            (Shape::Mistral, 400, "/message", json!("a \"b\"")),
            (Shape::Anthropic, 413, "/error/type", json!("request_too_large")),
            (Shape::Anthropic, 503, "/error/type", json!("overloaded_error")),
            (Shape::Gemini, 503, "/error/status", json!("UNAVAILABLE")),
            (Shape::Gemini, 503, "/error/code", json!(503)),
            (Shape::Cohere, 502, "/message", json!("a \"b\"")),
            (Shape::Bedrock, 429, "/__type", json!("ThrottlingException")),
            (Shape::Bedrock, 502, "/__type", json!("InternalServerException")),
        ];
        for (shape, status, place, expected) in cases {
            let body: Value = serde_json::from_str(&error_body(shape, status, "replay_miss", "a \"b\"")).unwrap();
            assert_eq!(body.pointer(place), Some(&expected), "{shape:?} {status}");
            // What we say ourselves must read as an error again.
            assert!(crate::response::gathered::error_of(&body).is_some_and(|said| said.contains("a \"b\"")), "{shape:?}");
        }
    }
}
