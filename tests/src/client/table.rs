//! The table of clients.

use super::{Client, Runtime};

const OPENAI: Client = Client {
    name: "",
    runtime: Runtime::PythonDirect,
    script: "",
    host: "api.openai.com",
    provider: "openai",
    operation: "chat",
    model: "gpt-4.1-mini",
    streams: true,
    has_output: true,
    capture: "connect",
};
const ANTHROPIC: Client = Client { host: "api.anthropic.com", provider: "anthropic", model: "claude-sonnet-4-5", ..OPENAI };
const COHERE: Client = Client { host: "api.cohere.com", provider: "cohere", model: "command-r-08-2024", ..OPENAI };
const BEDROCK: Client = Client {
    host: "bedrock-runtime.us-east-1.amazonaws.com",
    provider: "aws",
    model: "anthropic.claude-3-5-haiku-20241022-v1:0",
    ..OPENAI
};
const LAYERED: Client = Client { runtime: Runtime::PythonLayered, ..OPENAI };
const NODE: Client = Client { runtime: Runtime::Node, ..OPENAI };

/// Every client.
pub const CLIENTS: &[Client] = &[
    Client { name: "openai_chat", script: "openai_chat.py", ..OPENAI },
    Client { name: "openai_usage", script: "openai_usage.py", ..OPENAI },
    Client { name: "openai_responses", script: "openai_responses.py", operation: "responses", ..OPENAI },
    Client {
        name: "openai_embeddings",
        script: "openai_embeddings.py",
        operation: "embeddings",
        model: "text-embedding-3-small",
        streams: false,
        has_output: false,
        ..OPENAI
    },
    Client { name: "openai_azure", script: "openai_azure.py", host: "agentrun-test.openai.azure.com", provider: "azure", ..OPENAI },
    Client { name: "anthropic_messages", script: "anthropic_messages.py", ..ANTHROPIC },
    Client {
        name: "anthropic_count_tokens",
        script: "anthropic_count_tokens.py",
        operation: "count_tokens",
        streams: false,
        has_output: false,
        ..ANTHROPIC
    },
    Client {
        name: "google_genai",
        script: "google_genai.py",
        host: "generativelanguage.googleapis.com",
        provider: "google",
        model: "gemini-2.5-flash",
        ..OPENAI
    },
    Client { name: "mistral", script: "mistral.py", host: "api.mistral.ai", provider: "mistral", model: "mistral-small-latest", ..OPENAI },
    Client { name: "cohere_v1", script: "cohere_v1.py", ..COHERE },
    Client { name: "cohere_v2", script: "cohere_v2.py", ..COHERE },
    Client { name: "bedrock_converse", script: "bedrock_converse.py", ..BEDROCK },
    Client { name: "bedrock_invoke", script: "bedrock_invoke.py", ..BEDROCK },
    Client { name: "litellm_chat", script: "litellm_chat.py", ..LAYERED },
    Client {
        name: "litellm_anthropic",
        script: "litellm_anthropic.py",
        host: "api.anthropic.com",
        provider: "anthropic",
        model: "claude-sonnet-4-5",
        ..LAYERED
    },
    Client { name: "langchain_chat", script: "langchain_chat.py", ..LAYERED },
    Client { name: "plain_requests", script: "plain_requests.py", ..OPENAI },
    Client { name: "plain_httpx", script: "plain_httpx.py", ..OPENAI },
    Client { name: "plain_aiohttp", script: "plain_aiohttp.py", ..OPENAI },
    Client { name: "plain_urllib", script: "plain_urllib.py", ..OPENAI },
    Client { name: "node_openai", script: "openai.mjs", ..NODE },
    Client { name: "node_anthropic", script: "anthropic.mjs", runtime: Runtime::Node, ..ANTHROPIC },
    Client { name: "node_fetch", script: "fetch.mjs", ..NODE },
    Client { name: "node_axios", script: "axios.mjs", ..NODE },
    Client { name: "machine_node_fetch", script: "fetch.mjs", runtime: Runtime::MachineNode, capture: "base-url", ..OPENAI },
    Client { name: "base_url_openai", script: "openai_chat.py", capture: "base-url", ..OPENAI },
    Client { name: "base_url_anthropic", script: "anthropic_messages.py", capture: "base-url", ..ANTHROPIC },
    Client { name: "go_net_http", script: "", runtime: Runtime::Go, ..OPENAI },
    Client { name: "curl", script: "call.sh", runtime: Runtime::Curl, ..OPENAI },
];
